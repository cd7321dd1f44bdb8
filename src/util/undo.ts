/** A stack of what undoes the steps already taken, run last in first out when a later step fails. */

export interface UndoFailure {
  what: string;
  error: unknown;
}

export class UndoStack {
  #steps: { what: string; undo: (clean: boolean) => unknown }[] = [];

  /**
   * Registers how to undo a step: right after the step, or before it where `undo` tolerates its absence.
   * `clean` tells it whether all later steps could be undone.
   */
  add(what: string, undo: (clean: boolean) => unknown): void {
    this.#steps.push({ what, undo });
  }

  /** The work stands: forgets every step. */
  commit(): void {
    this.#steps = [];
  }

  /**
   * Undoes all steps, newest first. A step that fails does not keep the earlier ones from being
   * undone; what failed is returned for the caller to report.
   */
  async rollback(): Promise<UndoFailure[]> {
    const failures: UndoFailure[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.undo(failures.length === 0);
      } catch (error) {
        failures.push({ what: step.what, error });
      }
    }
    return failures;
  }
}

/**
 * Runs `work` with an undo stack that is committed when it returns and rolled back when it throws.
 * The error of `work` is always what the caller gets; failures of the undoing go to `report`.
 */
export async function withUndo<T>(
  work: (undo: UndoStack) => Promise<T>,
  report: (failure: UndoFailure) => void,
): Promise<T> {
  const undo = new UndoStack();
  try {
    const result = await work(undo);
    undo.commit();
    return result;
  } catch (error) {
    for (const failure of await undo.rollback()) report(failure);
    throw error;
  }
}
