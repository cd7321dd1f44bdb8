/** Hooks of a container that plugins have asked for, run on the host at the steps OCI names. */
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
  const { plugins } = record;
  if (plugins === null) return;
  const bundle = context.folders.containerRunDirectory(record.id);
  const state = JSON.stringify({
    ociVersion: '1.2.0',
    id: record.id,
    status,
    ...(pid !== 0 && { pid }),
    bundle,
    annotations: Object.fromEntries(plugins.annotations),
  });
  for (const kind of kinds) {
    for (const hook of plugins.hooks[kind]) {
      try {
        await context.host.runHook(hook, state);
      } catch (error) {
        throw wrap(error, `container ${record.id}: its ${kind} hook ${hook.path} failed`);
      }
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
