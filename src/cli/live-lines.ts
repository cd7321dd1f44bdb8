/** Lines at the end of a terminal that are shown again and again in place, and wiped in the end. */
import type { Output } from './output.js';

const CLEAR_LINE = '\u001b[2K';
const CLEAR_BELOW = '\u001b[J';

export class LiveLines {
  readonly #out: Output;
  #shown = 0;

  constructor(out: Output) {
    this.#out = out;
  }

  /** What does not fit is cut: a line that wraps could not be found again. */
  async show(lines: readonly string[]): Promise<void> {
    const { rows, columns } = this.#out;
    const fitting = lines.slice(0, rows - 1).map((line) => line.slice(0, columns - 1));
    const body = fitting.map((line) => `${CLEAR_LINE}${line}\n`).join('');
    await this.#out.write(`${this.#home()}${body}${CLEAR_BELOW}`);
    this.#shown = fitting.length;
  }

  async wipe(): Promise<void> {
    if (this.#shown === 0) return;
    await this.#out.write(`${this.#home()}${CLEAR_BELOW}`);
    this.#shown = 0;
  }

  #home(): string {
    return this.#shown === 0 ? '\r' : `\r\u001b[${this.#shown}A`;
  }
}
