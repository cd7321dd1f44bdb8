/** One call of one CNI plugin: environment and configuration in, result or a precise error out. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RuntimeError, wrap } from '../../core/errors.js';
import type { ErrorKind } from '../../core/errors.js';
import type { OwnedFd } from '../../core/ports/network.js';
import type { RunOptions, RunResult } from '../../native/process.js';

/** runProcess of native/process.ts, bound to the agent's spawner. */
export type RunPlugin = (options: RunOptions) => Promise<RunResult>;

export interface Invocation {
  command: 'ADD' | 'DEL';
  network: string;
  type: string;
  /** What the plugin reads from stdin. */
  config: Record<string, unknown>;
  containerId: string;
  /** '' when the namespace is gone (DEL alone). */
  netnsPath: string;
  ifName: string;
  /** `K=V;K=V`. */
  args: string;
  binDirs: readonly string[];
  timeoutMs: number;
  /** Becomes descriptor 3 of the plugin; see PluginGuard. */
  guardFd: OwnedFd;
}

export type CniResult = Record<string, unknown>;

const MAX_OUTPUT_BYTES = 1024 * 1024;
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Calls the plugin and returns what it printed; null for DEL, which prints nothing of use. */
export async function invokePlugin(run: RunPlugin, call: Invocation): Promise<CniResult | null> {
  const file = await findPlugin(call.network, call.type, call.binDirs);
  const env = [
    `CNI_COMMAND=${call.command}`,
    `CNI_CONTAINERID=${call.containerId}`,
    `CNI_NETNS=${call.netnsPath}`,
    `CNI_IFNAME=${call.ifName}`,
    `CNI_ARGS=${call.args}`,
    `CNI_PATH=${call.binDirs.join(':')}`,
    `PATH=${process.env['PATH'] ?? PATH}`,
  ];
  const what = `network ${call.network}: ${call.command} of plugin ${call.type}`;
  let output: RunResult;
  try {
    output = await run({
      file,
      argv: [file],
      env,
      input: JSON.stringify(call.config),
      timeoutMs: call.timeoutMs,
      maxOutputBytes: MAX_OUTPUT_BYTES,
      extraFds: [call.guardFd],
    });
  } catch (error) {
    throw wrap(error, what, 'failed-precondition');
  }
  if (output.status.code !== 0) throw failure(what, output);
  return call.command === 'DEL' ? null : parseResult(what, output);
}

/** The first executable of that name, as CNI_PATH is searched. */
export async function findPlugin(
  network: string,
  type: string,
  binDirs: readonly string[],
): Promise<string> {
  for (const folder of binDirs) {
    const path = join(folder, type);
    if (await isExecutableFile(path)) return path;
  }
  throw new RuntimeError(
    'failed-precondition',
    `network ${network}: plugin ${type} is not in ${binDirs.join(', ')}: install it, or correct network.bin_dirs`,
  );
}

async function isExecutableFile(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

function parseResult(what: string, output: RunResult): CniResult {
  if (output.truncated) {
    throw new RuntimeError('internal', `${what} printed more than ${MAX_OUTPUT_BYTES} bytes`);
  }
  const result = parseObject(output.stdout);
  if (result !== undefined) return result;
  throw new RuntimeError(
    'internal',
    `${what} printed no result but ${JSON.stringify(excerpt(output.stdout))}`,
  );
}

/** A plugin that fails prints `{code, msg, details}` on stdout (CNI specification, section 5). */
function failure(what: string, output: RunResult): RuntimeError {
  const { status } = output;
  const { code, msg, details } = parseObject(output.stdout) ?? {};
  if (typeof code === 'number' && typeof msg === 'string') {
    const more = typeof details === 'string' && details !== '' ? `; ${details}` : '';
    return new RuntimeError(
      kindOf(code),
      `${what} failed: ${clean(msg + more)} (cni error ${code})`,
    );
  }
  const end = status.code === null ? `signal ${status.signal ?? 0}` : `exit code ${status.code}`;
  const words = excerpt(output.stderr) || excerpt(output.stdout) || 'it printed nothing';
  return new RuntimeError('internal', `${what} failed with ${end}: ${words}`);
}

/** Well-known codes of the specification; from 100 on they are the plugin's own. */
function kindOf(code: number): ErrorKind {
  if (code === 11 || code === 50 || code === 51) return 'unavailable';
  return code === 1 || code === 2 || code === 4 || code === 7 ? 'failed-precondition' : 'internal';
}

function parseObject(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function excerpt(bytes: Uint8Array): string {
  // The end: what a program says last is why it gave up.
  return clean(new TextDecoder().decode(bytes.subarray(-1000)));
}

function clean(text: string): string {
  return text
    .replace(/[\u0000-\u001f\u007f]+/g, ' ')
    .trim()
    .slice(0, 2000);
}
