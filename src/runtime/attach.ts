/** Attach: a client at a running container's own process. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError } from '../core/errors.js';
import type { AttachSession } from '../core/ports/engine.js';
import type { RuntimeContext } from './context.js';
import { requireRunning } from './exec-process.js';
import type { Container } from './objects.js';

/** How long the end of a container may take to be known after its clients were told. */
const END_MS = 2000;

export interface Attachment {
  session: AttachSession;
  tty: boolean;
  /** The container's exit code, after its last output was read. Rejects when the client was dropped. */
  exited: Promise<number>;
}

export interface AttachCall {
  containerId: string;
  stdin: boolean;
}

/** The container of an attachment that may be made now. */
export function requireAttachable(
  context: RuntimeContext,
  { containerId, stdin }: AttachCall,
): Container {
  const container = context.objects.container(containerId);
  requireRunning(container, 'only a running container can be attached to');
  if (stdin && !container.record.stdin) {
    throw new RuntimeError(
      'failed-precondition',
      `container ${container.id} has no stdin: attach without it, or create the container with stdin`,
    );
  }
  return container;
}

export async function attach(context: RuntimeContext, request: AttachCall): Promise<Attachment> {
  const container = requireAttachable(context, request);
  const { record } = container;
  const session = await context.engine.attach({
    id: record.id,
    runDirectory: context.folders.containerRunDirectory(record.id),
    tty: record.tty,
    stdin: request.stdin,
  });
  const exited = session.ended.then((end) => exitCodeAfter(container, end));
  // Whoever leaves does not look at it.
  exited.catch(() => undefined);
  return { session, tty: record.tty, exited };
}

async function exitCodeAfter(
  container: Container,
  end: Awaited<AttachSession['ended']>,
): Promise<number> {
  if (end === 'exited') return (await container.ended).exitCode;
  // A shim that was killed drops its clients too. Not for who left: each look at the container's end is kept until then.
  const exit =
    end === 'dropped'
      ? await Promise.race([container.ended, sleep(END_MS, undefined, { ref: false })])
      : undefined;
  if (exit !== undefined) return exit.exitCode;
  throw new RuntimeError(
    'aborted',
    `detached from container ${container.id}: ${end === 'dropped' ? 'its output was not read for too long' : 'the client left'}`,
  );
}
