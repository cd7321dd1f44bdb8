/** Writing to stdout and stderr with back-pressure, and with an end when the reader goes away. */
import { once } from 'node:events';
import { styleText } from 'node:util';

/** What is needed of process.stdout; tests pass a PassThrough. */
export interface OutputStream extends NodeJS.WritableStream {
  isTTY?: boolean;
  columns?: number;
}

type Style = Parameters<typeof styleText>[0];

export class Output {
  readonly #stream: OutputStream;
  readonly #signal: AbortSignal;
  readonly #colours: boolean;

  /** Waiting for a slow reader ends with the signal. */
  constructor(stream: OutputStream, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    // https://no-color.org: any value that is not empty.
    this.#colours = this.isTerminal && (process.env['NO_COLOR'] ?? '') === '';
  }

  get isTerminal(): boolean {
    return this.#stream.isTTY === true;
  }

  async write(data: string | Uint8Array): Promise<void> {
    if (this.#signal.aborted || data.length === 0) return;
    if (this.#stream.write(data)) return;
    // Nobody reads on after an abort: what is left in the stream's buffer does not matter then.
    await once(this.#stream, 'drain', { signal: this.#signal }).catch(() => undefined);
  }

  async line(text = ''): Promise<void> {
    await this.write(`${text}\n`);
  }

  async json(document: unknown): Promise<void> {
    await this.write(`${JSON.stringify(document, null, 2)}\n`);
  }

  /** Colours and weight on a terminal, plain text everywhere else. */
  styled(style: Style, text: string): string {
    return this.#colours ? styleText(style, text) : text;
  }
}
