/**
 * Changing limits so that a killed agent can finish or undo it: the record says what is about to be
 * written and what was there before the first file is touched.
 */
import type { CgroupPlan, Resize, Resources } from '../core/model.js';
import { withUndo } from '../util/undo.js';
import type { RuntimeContext } from './context.js';
import { reportUndo } from './context.js';

interface Limited {
  resources: Resources | null;
  resize: Resize | null;
}

/** The object whose record holds the limits; `record` as it is by the time it is asked for. */
export interface LimitHolder<R extends Limited> {
  readonly id: string;
  readonly record: R;
  save(record: R): Promise<void>;
}

/** Everything takes effect and is recorded, or nothing is. */
export async function changeLimits<R extends Limited>(
  context: RuntimeContext,
  holder: LimitHolder<R>,
  plan: CgroupPlan,
  change: Partial<R> & { resources: Resources },
): Promise<void> {
  await withUndo(
    async (undo) => {
      if (plan.writes.length > 0) {
        undo.add('put back the record', () => holder.save({ ...holder.record, resize: null }));
        const resize = { ...plan, resources: change.resources };
        await holder.save({ ...holder.record, resize });
        undo.add('put back the limits', () => context.cgroups.write(plan.undo));
        await context.cgroups.write(plan.writes);
      }
      await holder.save({ ...holder.record, ...change, resize: null });
    },
    reportUndo(context, holder.id),
  );
}

/** At the start of the agent: a change that a kill cut short. Its caller never had an answer. */
export async function finishChange<R extends Limited>(
  context: RuntimeContext,
  holder: LimitHolder<R>,
): Promise<void> {
  const { resources: earlier, resize } = holder.record;
  if (!resize) return;
  let resources: Resources | null = resize.resources;
  try {
    await context.cgroups.write(resize.writes);
  } catch (error) {
    context.log.warn(
      { id: holder.id, err: error },
      'cannot finish a change of limits that was cut short: it is undone',
    );
    await context.cgroups.write(resize.undo);
    resources = earlier;
  }
  await holder.save({ ...holder.record, resources, resize: null });
}
