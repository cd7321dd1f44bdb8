/** What one run of the command works with: streams, options, configuration, connection. */
import { z } from 'zod';
import { connectAdmin, type AdminClient } from '../admin/client.js';
import { loadConfig } from '../config/load.js';
import { adminSocket, type Config } from '../config/schema.js';
import { connectCri } from '../cri/client.js';
import type { CriClient } from '../cri/client.js';
import { StatusRequest } from '../cri/gen/index.js';
import { CommandFailure, asFailure } from './failure.js';
import { Output } from './output.js';
import type { OutputStream } from './output.js';
import type { Terminal } from './terminal.js';

/** The process around the command; tests bring their own. */
export interface Host {
  stdin: AsyncIterable<Uint8Array | string>;
  stdout: OutputStream;
  stderr: OutputStream;
  /** Where stdin and stdout are a terminal. */
  terminal?: Terminal | undefined;
  /** Nothing more is read of stdin: it does not keep the process. */
  releaseInput?: () => void;
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
  #admin: AdminClient | undefined;
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

  /** The socket for what CRI has no call for, as the agent itself tells it. */
  async admin(): Promise<AdminClient> {
    if (this.#admin !== undefined) return this.#admin;
    const cri = await this.cri();
    const { info } = await cri.runtime.status(StatusRequest.create({ verbose: true }), {
      signal: this.signal,
    });
    const shown = shownConfig.safeParse(parseJson(info.get('config') ?? ''));
    if (!shown.success)
      throw new CommandFailure(
        'unimplemented',
        'the agent is too old for this command: restart it',
      );
    this.#admin = connectAdmin(adminSocket(shown.data));
    return this.#admin;
  }

  get isInputTerminal(): boolean {
    return (this.#host.stdin as { isTTY?: boolean }).isTTY === true;
  }

  get terminal(): Terminal | undefined {
    return this.#host.terminal;
  }

  releaseInput(): void {
    this.#host.releaseInput?.();
  }

  async *input(): AsyncGenerator<Buffer> {
    for await (const chunk of this.#host.stdin) yield Buffer.from(chunk);
  }

  close(): void {
    this.#client?.close();
    this.#admin?.close();
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

const shownConfig = z.object({ state: z.string(), admin: z.object({ socket: z.string() }) });

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
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
