/** What one run of the command works with: streams, options, configuration, connection. */
import { loadConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { connectCri } from '../cri/client.js';
import type { CriClient } from '../cri/client.js';
import { CommandFailure, asFailure } from './failure.js';
import { Output } from './output.js';
import type { OutputStream } from './output.js';

/** The process around the command; tests bring their own. */
export interface Host {
  stdin: AsyncIterable<Uint8Array | string>;
  stdout: OutputStream;
  stderr: OutputStream;
  /** Aborted by Ctrl-C, a closing signal, or a reader of stdout that went away. */
  signal: AbortSignal;
}

export interface GlobalOptions {
  socket?: string;
  config?: string;
  json?: true;
}

export class Session {
  readonly out: Output;
  readonly err: Output;
  readonly signal: AbortSignal;
  readonly #host: Host;
  #options: GlobalOptions = {};
  #config: Promise<Config> | undefined;
  #client: CriClient | undefined;
  #exitCode = 0;

  constructor(host: Host) {
    this.#host = host;
    this.signal = host.signal;
    this.out = new Output(host.stdout, host.signal);
    // What could not be undone after Ctrl-C must still be told.
    this.err = new Output(host.stderr);
  }

  /** Runs a command's work and keeps its exit code. */
  async act(work: () => Promise<number>): Promise<void> {
    this.#exitCode = await work();
  }

  get exitCode(): number {
    return this.#exitCode;
  }

  setOptions(options: GlobalOptions): void {
    this.#options = options;
  }

  get json(): boolean {
    return this.#options.json === true;
  }

  get socketOption(): string | undefined {
    return this.#options.socket;
  }

  config(): Promise<Config> {
    this.#config ??= readConfig(this.#options.config);
    return this.#config;
  }

  /** Nothing of the configuration is read when the socket is named. */
  async socketPath(): Promise<string> {
    return this.#options.socket ?? (await this.config()).socket;
  }

  async cri(): Promise<CriClient> {
    if (this.#client !== undefined) return this.#client;
    const path = await this.socketPath();
    try {
      // Does not connect yet: all that can be wrong here is the path itself.
      this.#client = connectCri(path);
    } catch (error) {
      throw new CommandFailure('usage', asFailure(error).message, error);
    }
    return this.#client;
  }

  close(): void {
    this.#client?.close();
  }

  async readInput(): Promise<string> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.#host.stdin) {
      chunks.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  /** A word to the person at the terminal; programs that read JSON get none. */
  async note(text: string): Promise<void> {
    if (!this.json) await this.err.line(text);
  }
}

async function readConfig(file: string | undefined): Promise<Config> {
  try {
    return (await loadConfig(file)).config;
  } catch (error) {
    // Not what the agent refused: what this command was given.
    throw new CommandFailure('usage', asFailure(error).message, error);
  }
}
