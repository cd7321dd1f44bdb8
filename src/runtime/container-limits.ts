/** Changing the limits of a container that stands at its gate or runs. */
import { RuntimeError, wrap } from '../core/errors.js';
import type { ContainerRecord, Resources } from '../core/model.js';
import type { CgroupChange } from '../core/ports/cgroup.js';
import { completeChange, mergeResources } from '../core/resource-change.js';
import { toCgroupSettings, type CgroupSetting } from '../core/resources.js';
import type { RuntimeContext } from './context.js';
import { changeLimits, finishChange, type LimitHolder } from './limit-change.js';
import type { Container } from './objects.js';

/** What the payload can see: its cgroup namespace begins at the leaf. The shim mirrors these too. */
const MIRRORED: readonly string[] = ['memory.max', 'memory.oom.group', 'cpu.max'];

export async function changeContainerLimits(
  context: RuntimeContext,
  container: Container,
  change: Resources,
): Promise<void> {
  await context.locks.run(container.id, async () => {
    requireChangeable(container);
    const { record } = container;
    const whole = completeChange(change, record.resources);
    const settings = requireSettable(context, record, whole);
    try {
      const plan = await context.cgroups.plan(changesOf(record, settings));
      const resources = mergeResources(record.resources, whole);
      await changeLimits(context, holderOf(context, container), plan, { resources });
    } catch (error) {
      throw wrap(error, `container ${container.id}: cannot change its limits`);
    }
  });
}

export function requireChangeable({ id, life }: Container): void {
  if (life.state !== 'exited') return;
  throw new RuntimeError(
    'failed-precondition',
    `container ${id} has exited: only one that is created or running has limits to change`,
  );
}

/** At the start of the agent: a change that a kill cut short. */
export async function finishContainerUpdate(
  context: RuntimeContext,
  container: Container,
): Promise<void> {
  await finishChange(context, holderOf(context, container));
}

/** Unlike a creation, which the pod needs to run at all, this is about the limits and nothing else. */
function requireSettable(
  context: RuntimeContext,
  record: ContainerRecord,
  whole: Resources,
): CgroupSetting[] {
  const { settings, missing } = toCgroupSettings(whole, context.cgroups.controllers);
  if (missing.length === 0) return settings;
  throw new RuntimeError(
    'failed-precondition',
    `container ${record.id}: cannot change its limits: this host's cgroup v2 lacks the controllers ${missing.join(', ')}; boot with systemd.unified_cgroup_hierarchy=1`,
  );
}

function changesOf(record: ContainerRecord, settings: readonly CgroupSetting[]): CgroupChange[] {
  const { outer } = record.cgroup;
  return settings.flatMap(({ file, value }) => [
    { path: outer, file, value },
    ...(MIRRORED.includes(file) ? [{ path: `${outer}/lxc`, file, value, optional: true }] : []),
  ]);
}

function holderOf(context: RuntimeContext, container: Container): LimitHolder<ContainerRecord> {
  return {
    id: container.id,
    get record() {
      return container.record;
    },
    save: async (record) => {
      await context.store.saveContainer(record);
      container.describe(record);
    },
  };
}
