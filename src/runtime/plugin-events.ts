/** What plugins hear of pods and containers. Without NRI nothing here does anything. */
import type { ContainerRecord, SandboxRecord } from '../core/model.js';
import type {
  ContainerEvent,
  PluginContainer,
  PluginPod,
  PodEvent,
} from '../core/ports/plugins.js';
import type { RuntimeContext } from './context.js';
import type { Container } from './objects.js';
import { applyChanges } from './plugin-changes.js';
import { pinnedKinds } from './sandbox-plan.js';

/** For a plugin that comes. */
export function pluginState(context: RuntimeContext): {
  pods: PluginPod[];
  containers: PluginContainer[];
} {
  const { objects, plugins } = context;
  const pods = [
    ...[...objects.sandboxes()].map(({ record }) => record),
    ...(plugins?.introduced.pods.values() ?? []),
  ];
  return {
    pods: pods.map((record) => toPluginPod(context, record)),
    containers: [
      ...[...objects.containers()].map(toPluginContainer),
      ...(plugins?.introduced.containers.values() ?? []),
    ],
  };
}

/** Rejects when a plugin does not want it. It is `introduced` until the caller takes it out. */
export async function introducePod(context: RuntimeContext, record: SandboxRecord): Promise<void> {
  const { plugins } = context;
  await plugins?.host.podEvent('RunPodSandbox', toPluginPod(context, record), () => {
    plugins.introduced.pods.set(record.id, record);
  });
}

export async function tellPod(
  context: RuntimeContext,
  event: PodEvent,
  record: SandboxRecord,
): Promise<void> {
  await context.plugins?.host.podEvent(event, toPluginPod(context, record));
}

/** Undoes `introducePod`. */
export async function withdrawPod(context: RuntimeContext, record: SandboxRecord): Promise<void> {
  context.plugins?.introduced.pods.delete(record.id);
  await tellPod(context, 'StopPodSandbox', record);
  await tellPod(context, 'RemovePodSandbox', record);
}

export async function tellContainer(
  context: RuntimeContext,
  event: ContainerEvent,
  container: Container,
): Promise<void> {
  const { plugins } = context;
  if (plugins === null) return;
  const pod = podOf(context, container.record);
  await plugins.host.containerEvent(event, pod, toPluginContainer(container));
}

/** Once in the life of a container, whatever has ended it. Never rejects. */
export async function tellStopped(
  context: RuntimeContext,
  record: ContainerRecord,
  container: PluginContainer,
): Promise<void> {
  const { plugins } = context;
  if (plugins === null) return;
  try {
    const pod = podOf(context, record);
    await applyChanges(context, await plugins.host.stopContainer(pod, container));
  } catch (error) {
    context.log.error({ container: record.id, err: error }, 'cannot tell plugins of an end');
  }
}

/** Undoes the introduction of a container that could not be made. */
export async function withdrawContainer(
  context: RuntimeContext,
  pod: SandboxRecord,
  container: PluginContainer,
): Promise<void> {
  const { plugins } = context;
  if (plugins === null) return;
  plugins.introduced.containers.delete(container.record.id);
  await tellStopped(context, container.record, container);
  await plugins.host.containerEvent('RemoveContainer', toPluginPod(context, pod), container);
}

export function podOf(context: RuntimeContext, { sandboxId }: ContainerRecord): PluginPod {
  return toPluginPod(context, context.objects.sandbox(sandboxId).record);
}

export function toPluginPod(context: RuntimeContext, record: SandboxRecord): PluginPod {
  const names = { net: 'network', ipc: 'ipc', uts: 'uts', pid: 'pid' } as const;
  return {
    record,
    namespaces: pinnedKinds(record.namespaces).map((kind) => [
      names[kind],
      context.namespaces.path(record.id, kind),
    ]),
  };
}

export function toPluginContainer({ record, life }: Container): PluginContainer {
  return {
    record,
    state: life.state,
    pid: life.state === 'exited' ? 0 : life.pid,
    startedAt:
      life.state === 'running'
        ? life.startedAt
        : life.state === 'exited'
          ? life.exit.startedAt
          : 0n,
    exit: life.state === 'exited' ? life.exit : null,
  };
}
