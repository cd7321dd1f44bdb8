/** Remembers whether the host ended in order, so that the next start knows when to look for damage. */
import { readFile, rm } from 'node:fs/promises';
import { hasCode } from '../../core/errors.js';
import { writeFileAtomic } from '../../util/atomic-file.js';

/**
 * A file that is there while an agent runs, with the host's boot id. With another boot id than now, the
 * host ended under the agent: a power cut, a crash, a reset. A killed agent leaves it too, but then the
 * boot id is the same, and nothing is lost: what was written is in the page cache.
 */
export class CleanEnd {
  readonly #path: string;
  readonly #bootId: string;
  #isCheckDue: boolean;

  private constructor(path: string, bootId: string, isCheckDue: boolean) {
    this.#path = path;
    this.#bootId = bootId;
    this.#isCheckDue = isCheckDue;
  }

  static async open(path: string, bootId: string): Promise<CleanEnd> {
    let before = '';
    try {
      before = (await readFile(path, 'utf8')).trim();
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
    const self = new CleanEnd(path, bootId, before !== '' && before !== bootId);
    await self.#write();
    return self;
  }

  /** True from an unclean end on until a check has come to its end, in whichever life of the agent. */
  get isCheckDue(): boolean {
    return this.#isCheckDue;
  }

  async checked(): Promise<void> {
    this.#isCheckDue = false;
    await this.#write();
  }

  /** The agent ends in order. */
  async close(): Promise<void> {
    if (!this.#isCheckDue) await rm(this.#path, { force: true });
  }

  async #write(): Promise<void> {
    try {
      await writeFileAtomic(this.#path, this.#isCheckDue ? 'check is due\n' : `${this.#bootId}\n`);
    } catch {
      // A disk that is full or read-only must not keep the agent from starting.
    }
  }
}
