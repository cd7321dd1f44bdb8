/** UpdatePodSandboxResources: noted, and applied where the pod's cgroup is our own. */
import { wrap } from '../core/errors.js';
import type { CgroupPlan, Resources, SandboxRecord } from '../core/model.js';
import { addOverhead, completeChange, mergeResources } from '../core/resource-change.js';
import { toCgroupSettings, type CgroupSetting } from '../core/resources.js';
import type { RuntimeContext } from './context.js';
import { changeLimits, finishChange, type LimitHolder } from './limit-change.js';
import type { Sandbox } from './objects.js';
import { tellPod, toPluginPod } from './plugin-events.js';

export interface SandboxChange {
  /** null leaves what is known. */
  overhead: Resources | null;
  resources: Resources | null;
}

/**
 * The kubelet sets the limits of the cgroup it names as the pod's by itself, before this call or
 * after it, and takes any error for a refused resize.
 */
export async function updateSandbox(
  context: RuntimeContext,
  id: string,
  change: SandboxChange,
): Promise<void> {
  const sandbox = context.objects.sandbox(id);
  await context.locks.run(sandbox.id, async () => {
    const { record } = sandbox;
    const overhead = change.overhead ?? record.overhead;
    const resources = change.resources
      ? mergeResources(record.resources, completeChange(change.resources, record.resources))
      : record.resources;
    const holder = holderOf(context, sandbox);
    await context.plugins?.host.updatePod(toPluginPod(context, record), overhead, resources);
    if (resources === null) {
      await holder.save({ ...record, overhead });
      return;
    }
    try {
      const plan = await planPod(context, sandbox, addOverhead(resources, overhead));
      await changeLimits(context, holder, plan, { overhead, resources });
    } catch (error) {
      throw wrap(error, `pod sandbox ${sandbox.id}: cannot change its limits`);
    }
    await tellPod(context, 'PostUpdatePodSandbox', sandbox.record);
  });
}

/** At the start of the agent: a change that a kill cut short. */
export async function finishSandboxUpdate(
  context: RuntimeContext,
  sandbox: Sandbox,
): Promise<void> {
  await finishChange(context, holderOf(context, sandbox));
}

/** Settings for the pod's own cgroup; what the host lacks is told in the log and left out. */
export function podSettings(
  context: RuntimeContext,
  id: string,
  resources: Resources,
): CgroupSetting[] {
  const { settings, missing } = toCgroupSettings(resources, context.cgroups.controllers);
  if (missing.length > 0) {
    context.log.warn(
      { sandbox: id, missing },
      'limits of a pod are not set: their cgroup v2 controllers are missing here',
    );
  }
  return settings;
}

async function planPod(
  context: RuntimeContext,
  { id, ready, record }: Sandbox,
  resources: Resources,
): Promise<CgroupPlan> {
  if (!record.ownsCgroup || !ready) return { writes: [], undo: [] };
  const settings = podSettings(context, id, resources);
  return context.cgroups.plan(settings.map((setting) => ({ path: record.cgroup, ...setting })));
}

function holderOf(context: RuntimeContext, sandbox: Sandbox): LimitHolder<SandboxRecord> {
  return {
    id: sandbox.id,
    get record() {
      return sandbox.record;
    },
    save: async (record) => {
      await context.store.saveSandbox(record);
      sandbox.update({ record });
    },
  };
}
