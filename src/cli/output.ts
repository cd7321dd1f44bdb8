/** Writing to stdout and stderr with back-pressure, and with an end when the reader goes away. */
import { once } from 'node:events';
import { styleText } from 'node:util';

/** What is needed of process.stdout; tests pass a PassThrough. */
export interface OutputStream extends NodeJS.WritableStream {
  isTTY?: boolean;
  /** Height of the terminal. */
  rows?: number;
  /** Width of the terminal. */
  columns?: number;
  destroyed?: boolean;
}

type Style = Parameters<typeof styleText>[0];

export class Output {
  readonly #stream: OutputStream;
  readonly #signal: AbortSignal | undefined;
  readonly #colours: boolean;

  /** Nothing more is written once the signal is aborted, and nobody waits for a slow reader then. */
  constructor(stream: OutputStream, signal?: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    // https://no-color.org: any value that is not empty.
    this.#colours = this.isTerminal && (process.env['NO_COLOR'] ?? '') === '';
  }

  get isTerminal(): boolean {
    return this.#stream.isTTY === true;
  }

  /** Lines that fit on the screen; 24 where the terminal does not tell. */
  get rows(): number {
    const { rows } = this.#stream;
    return rows === undefined || rows < 2 ? 24 : rows;
  }

  /** Characters that fit in a line; 80 where the terminal does not tell. */
  get columns(): number {
    const { columns } = this.#stream;
    return columns === undefined || columns < 2 ? 80 : columns;
  }

  async write(data: string | Uint8Array): Promise<void> {
    if (this.#signal?.aborted === true || this.#stream.destroyed === true) return;
    if (data.length === 0 || this.#stream.write(data)) return;
    const options = this.#signal === undefined ? {} : { signal: this.#signal };
    // It also rejects when the stream breaks: what is left in its buffer does not matter then.
    await once(this.#stream, 'drain', options).catch(() => undefined);
  }

  async line(text = ''): Promise<void> {
    await this.write(`${text}\n`);
  }

  async json(document: unknown): Promise<void> {
    await this.write(`${JSON.stringify(document, null, 2)}\n`);
  }

  /** Colours and weight on a terminal, plain text everywhere else. */
  styled(style: Style, text: string): string {
    // Newer releases of Node.js look at process.stdout themselves, which need not be this stream.
    return this.#colours ? styleText(style, text, { validateStream: false }) : text;
  }
}
