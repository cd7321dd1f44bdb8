/** Attach: a client at a running container's own process. */
import { RuntimeError } from '../core/errors.js';
import type { ExitRecord } from '../core/model.js';
import type { AttachSession } from '../core/ports.js';
import type { RuntimeContext } from './context.js';
import { requireRunning } from './exec-process.js';

export interface Attachment {
  session: AttachSession;
  tty: boolean;
  /** When the container ends. */
  exit: Promise<ExitRecord>;
}

export async function attach(
  context: RuntimeContext,
  request: { containerId: string; stdin: boolean },
): Promise<Attachment> {
  const container = context.objects.container(request.containerId);
  requireRunning(container, 'only a running container can be attached to');
  const { record } = container;
  if (request.stdin && !record.stdin) {
    throw new RuntimeError(
      'failed-precondition',
      `container ${container.id} has no stdin: attach without it, or create the container with stdin`,
    );
  }
  const session = await context.engine.attach({
    id: record.id,
    runDirectory: context.folders.containerRunDirectory(record.id),
    tty: record.tty,
    stdin: request.stdin,
  });
  return { session, tty: record.tty, exit: container.ended };
}
