/** One verb on several objects: each is tried, each failure is told, the first one's code is kept. */
import { EXIT_OK, asFailure, exitCodeOf } from './failure.js';
import type { Session } from './session.js';

/** `work` returns the id to print. With --json the result is a list of `{id}` or `{reference, error}`. */
export async function forEachObject(
  session: Session,
  references: readonly string[],
  work: (reference: string) => Promise<string>,
): Promise<number> {
  const results: object[] = [];
  let exitCode = EXIT_OK;
  for (const reference of references) {
    try {
      const id = await work(reference);
      results.push({ id });
      if (!session.json) await session.out.line(id);
    } catch (error) {
      if (session.signal.aborted) throw error;
      const { kind, message } = asFailure(error);
      results.push({ reference, error: { kind, message } });
      await session.err.line(`pvecri: ${message}`);
      exitCode ||= exitCodeOf(kind);
    }
  }
  if (session.json) await session.out.json(results);
  return exitCode;
}
