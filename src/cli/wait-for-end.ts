/** Waiting until a container has ended. */
import { setTimeout as delay } from 'node:timers/promises';
import { ContainerState } from '../cri/gen/index.js';
import { containerStatus } from './agent-queries.js';
import { CommandFailure } from './failure.js';
import type { Session } from './session.js';
import { shortId } from './table.js';

export interface ContainerEnd {
  name: string;
  exitCode: number;
  reason: string;
}

const POLL_MS = 200;

/** `deadline` is a time in milliseconds since the epoch, Infinity for none. */
export async function waitForEnd(
  session: Session,
  podId: string,
  { id, name }: { id: string; name: string },
  deadline: number,
): Promise<ContainerEnd> {
  const cri = await session.cri();
  for (;;) {
    const status = await containerStatus(cri, id, session.signal);
    if (status === undefined) {
      throw new CommandFailure(
        'not-found',
        `container ${name} was removed while it was waited for`,
      );
    }
    if (status.state === ContainerState.CONTAINER_EXITED) {
      return { name, exitCode: status.exitCode, reason: status.reason };
    }
    const left = deadline - Date.now();
    if (left <= 0) {
      throw new CommandFailure(
        'deadline-exceeded',
        `container ${name} has not ended within the time-out; the pod runs on: end it by pvecri rm -f ${shortId(podId)}`,
      );
    }
    await delay(Math.min(POLL_MS, left), undefined, { signal: session.signal });
  }
}
