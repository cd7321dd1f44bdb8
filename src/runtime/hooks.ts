/** Hooks of a container that its CDI devices or plugins have asked for, run on the host at the steps OCI names. */
import { wrap } from '../core/errors.js';
import type { ContainerRecord, Hooks } from '../core/model.js';
import type { RuntimeContext } from './context.js';

type Status = 'creating' | 'created' | 'running' | 'stopped';

/** In order, up to the first that fails. */
export async function runHooks(
  context: RuntimeContext,
  record: ContainerRecord,
  kinds: readonly (keyof Hooks)[],
  { status, pid }: { status: Status; pid: number },
): Promise<void> {
  const { plugins, deviceHooks } = record;
  const hooks = kinds.flatMap((kind) =>
    [...(deviceHooks?.[kind] ?? []), ...(plugins?.hooks[kind] ?? [])].map((hook) => ({
      kind,
      hook,
    })),
  );
  if (hooks.length === 0) return;
  const bundle = context.folders.containerRunDirectory(record.id);
  const state = JSON.stringify({
    ociVersion: '1.2.0',
    id: record.id,
    status,
    ...(pid !== 0 && { pid }),
    bundle,
    annotations: Object.fromEntries(plugins?.annotations ?? record.annotations),
  });
  for (const { kind, hook } of hooks) {
    try {
      await context.host.runHook(hook, state);
    } catch (error) {
      throw wrap(error, `container ${record.id}: its ${kind} hook ${hook.path} failed`);
    }
  }
}

/** Those whose failure changes nothing any more. */
export async function runLateHooks(
  context: RuntimeContext,
  record: ContainerRecord,
  kind: 'poststart' | 'poststop',
  at: { status: Status; pid: number },
): Promise<void> {
  try {
    await runHooks(context, record, [kind], at);
  } catch (error) {
    context.log.warn({ container: record.id, err: error }, 'a hook of a container failed');
  }
}
