/** Follows a container to its end: the one place where 'exited' comes from. */
import type { ContainerRecord, ExitRecord } from '../core/model.js';
import type { RuntimeContext } from './context.js';
import type { Container } from './objects.js';
import { tellStopped, toPluginContainer } from './plugin-events.js';

/** Exit code of a container whose end nobody saw, as the kubelet knows it from other runtimes. */
const UNKNOWN_EXIT = 255;

/** Starts to wait; the container's life becomes 'exited' when its shim has ended. */
export function watchContainer(context: RuntimeContext, container: Container): void {
  const { id } = container;
  const { folders } = context;
  context.cgroups.watch(id, container.record.cgroup.outer);
  container.ended = context.engine
    .waitForExit(id, folders.containerDirectory(id), folders.containerRunDirectory(id))
    .catch((error: unknown) => recordLoss(context, container, error))
    .then((exit) => {
      context.cgroups.unwatch(id);
      container.update({ state: 'exited', exit });
      if (context.plugins) {
        // Whoever waits for the end holds locks; what comes later is told later all the same.
        void tellStopped(context, container.record, toPluginContainer(container));
      }
      context.log.info(
        { container: id, exitCode: exit.exitCode, oomKilled: exit.oomKilled },
        'container exited',
      );
      return exit;
    });
}

/** The shim is gone without a record: whatever still runs is nobody's, so it is ended and noted. */
async function recordLoss(
  context: RuntimeContext,
  container: Container,
  error: unknown,
): Promise<ExitRecord> {
  const message = error instanceof Error ? error.message : String(error);
  context.log.error({ container: container.id, err: error }, 'container lost its shim');
  try {
    await context.cgroups.kill(container.record.cgroup.outer);
  } catch (killError) {
    context.log.error({ container: container.id, err: killError }, 'cannot kill a lost container');
  }
  const { life } = container;
  return markLost(context, container, message, life.state === 'running' ? life.startedAt : 0n);
}

export async function markLost(
  context: RuntimeContext,
  container: Container,
  message: string,
  startedAt: bigint,
): Promise<ExitRecord> {
  const lost = { at: String(context.host.now()), message, startedAt: String(startedAt) };
  container.record = { ...container.record, lost };
  try {
    await context.store.saveContainer(container.record);
  } catch (error) {
    context.log.error({ container: container.id, err: error }, 'cannot save a lost container');
  }
  return lostExit(lost);
}

export function lostExit(lost: NonNullable<ContainerRecord['lost']>): ExitRecord {
  return {
    exitCode: UNKNOWN_EXIT,
    signal: 0,
    startedAt: BigInt(lost.startedAt),
    finishedAt: BigInt(lost.at),
    oomKilled: false,
    message: lost.message,
  };
}
