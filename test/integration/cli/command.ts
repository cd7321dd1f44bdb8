/** Runs the command in this process, against a real agent, and keeps what it printed. */
import { PassThrough, Readable } from 'node:stream';
import { runCli } from '../../../src/cli/cli.js';
import type { TestAgent } from '../../support/agent.js';

export interface Run {
  code: number;
  stdout: string;
  /** stdout as it is. */
  bytes: Buffer;
  stderr: string;
}

export interface RunOptions {
  stdin?: string | Buffer | Readable;
  signal?: AbortSignal;
  /** stdout is a terminal of so many lines. */
  rows?: number;
  /** stderr is a terminal of this size. */
  terminal?: { rows: number; columns: number };
  /** stdin and stderr are a terminal, at which somebody types `stdin`. */
  asks?: boolean;
  /** Called with all of stdout so far. */
  onOutput?: (stdout: string) => void;
  /** Called with all of stderr so far. */
  onError?: (stderr: string) => void;
}

export async function pvecri(
  agent: TestAgent,
  args: string[],
  {
    stdin = '',
    signal = new AbortController().signal,
    rows,
    terminal,
    asks,
    onOutput,
    onError,
  }: RunOptions = {},
): Promise<Run> {
  const stdout = collector();
  const stderr = collector();
  if (rows !== undefined) Object.assign(stdout.stream, { isTTY: true, rows });
  if (terminal !== undefined) Object.assign(stderr.stream, { isTTY: true, ...terminal });
  stdout.stream.on('data', () => onOutput?.(stdout.text()));
  stderr.stream.on('data', () => onError?.(stderr.text()));
  const code = await runCli(['--config', agent.configFile, ...args], {
    stdin: stdin instanceof Readable ? stdin : Readable.from([stdin]),
    stdout: stdout.stream,
    stderr: stderr.stream,
    signal,
    ...(asks === true && { terminal: TERMINAL }),
  });
  const run = { code, stdout: stdout.text(), stderr: stderr.text() };
  // Not one of those that a test compares as a whole.
  return Object.defineProperty(run, 'bytes', { value: stdout.bytes() }) as Run;
}

function collector(): { stream: PassThrough; bytes: () => Buffer; text: () => string } {
  const stream = new PassThrough();
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  const bytes = (): Buffer => Buffer.concat(chunks);
  return { stream, bytes, text: () => bytes().toString() };
}

const TERMINAL = {
  size: () => ({ rows: 24, columns: 80 }),
  onResize: () => () => undefined,
  makeRaw: () => () => undefined,
};
