/** Ending a container at once, by its cgroup: no process in it can escape or ignore that. */
import type { RuntimeContext } from './context.js';
import type { Container } from './objects.js';

/** Kills everything in the container and waits until its exit is recorded. OK when it has ended. */
export async function killContainer(context: RuntimeContext, container: Container): Promise<void> {
  if (container.life.state === 'exited') return;
  await context.cgroups.kill(container.record.cgroup.outer);
  await container.ended;
}
