/** Port-forward: connections to what listens on a pod's loopback. */
import { addAbortSignal, type Duplex } from 'node:stream';
import { RuntimeError } from '../core/errors.js';
import type { RuntimeContext } from './context.js';
import type { Sandbox } from './objects.js';

/** A pod whose ports may be connected to now. */
export function requireForwardable(context: RuntimeContext, sandboxId: string): Sandbox {
  const sandbox = context.objects.sandbox(sandboxId);
  if (!sandbox.ready) {
    throw new RuntimeError(
      'failed-precondition',
      `pod sandbox ${sandbox.id} is not ready: only ports of a ready one can be forwarded`,
    );
  }
  return sandbox;
}

export function requirePort(port: number): void {
  if (Number.isInteger(port) && port >= 1 && port <= 0xffff) return;
  throw new RuntimeError(
    'invalid-argument',
    `port ${port} is out of range: name one of 1 to 65535`,
  );
}

/** It ends with the pod at the latest, for it would keep the pod's network namespace. */
export async function connectToPod(
  context: RuntimeContext,
  { sandboxId, port }: { sandboxId: string; port: number },
): Promise<Duplex> {
  requirePort(port);
  const { id, record, left } = requireForwardable(context, sandboxId);
  const own = record.namespaces.network === 'pod' ? id : null;
  const connection = await context.namespaces.connect(own, port);
  // Whoever reads or writes is told; nobody may be there yet.
  connection.on('error', () => undefined);
  return addAbortSignal(left, connection);
}
