/** Runs the command in this process, against a real agent, and keeps what it printed. */
import { PassThrough, Readable } from 'node:stream';
import { runCli } from '../../../src/cli/cli.js';
import type { TestAgent } from '../../support/agent.js';

export interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  stdin?: string;
  signal?: AbortSignal;
  /** stdout is a terminal of so many lines. */
  rows?: number;
  /** stderr is a terminal of this size. */
  terminal?: { rows: number; columns: number };
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
    stdin: Readable.from([stdin]),
    stdout: stdout.stream,
    stderr: stderr.stream,
    signal,
  });
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}

function collector(): { stream: PassThrough; text: () => string } {
  const stream = new PassThrough();
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return { stream, text: () => Buffer.concat(chunks).toString() };
}
