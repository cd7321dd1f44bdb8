/** The host as the verbs see it: facts of this boot, and the kernel services that have no port. */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { mkdir, open, readFile, rmdir, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { release } from 'node:os';
import { createCdiFinder, type CdiSettings } from './cdi-files.js';
import { hasCode, RuntimeError, wrap } from './core/errors.js';
import { findDevices } from './host-devices.js';
import type { Hook } from './core/model.js';
import type { NativeAddon } from './native/binding.js';
import { runProcess, type ProcessSpawner } from './native/process.js';
import type { HostFacts } from './runtime/context.js';

export function readHostFacts(
  spawner: ProcessSpawner,
  appArmor: HostFacts['appArmor'],
  cdi: () => CdiSettings,
  userNamespaces: boolean,
): HostFacts {
  const { addon } = spawner;
  return {
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    now,
    newId: () => randomBytes(32).toString('hex'),
    kernel: release(),
    compileSeccomp: memoize(addon),
    readHostFile,
    appArmor,
    readFileBelow: (fd, path, maxBytes) => addon.readFileInRoot(fd, path, maxBytes),
    userNamespaces,
    openNamespace: (path) => openSync(path, constants.O_RDONLY),
    closeFd: closeSync,
    hostname,
    readTextFile,
    findDevices,
    findCdiDevices: createCdiFinder(cdi, readHostFile),
    requireExisting,
    ensureMountSource,
    runHook: (hook, input) => runHook(spawner, hook, input),
    requireFolder,
  };
}

/** The agent's name in the cgroup tree. Agents side by side have different roots, and so do not remove each other's folders. */
export function agentName(root: string): string {
  if (root === '/var/lib/pvecri') return 'pvecri';
  return `pvecri-${createHash('sha256').update(root).digest('hex').slice(0, 12)}`;
}

/** Rounded down to milliseconds, so never later than what a shim writes afterwards. */
function now(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/** Compiling a policy costs 2 ms, and nearly all containers share one. */
function memoize(addon: NativeAddon): HostFacts['compileSeccomp'] {
  const compiled = new Map<string, Uint8Array>();
  return (profile) => {
    const key = JSON.stringify(profile, (_key, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
    const known = compiled.get(key);
    if (known) return known;
    const program = addon.compileSeccomp(profile);
    // Each set of capabilities has its own; a hostile caller must not fill the memory with them.
    if (compiled.size >= 64) compiled.clear();
    compiled.set(key, program);
    return program;
  };
}

/** OCI has no limit of its own; one that hangs must not hold its container for ever. */
const HOOK_MS = 120_000;

async function runHook(spawner: ProcessSpawner, hook: Hook, input: string): Promise<void> {
  const { path, args, env, timeoutMs } = hook;
  const result = await runProcess(spawner, {
    file: path,
    argv: args,
    env,
    cwd: '/',
    input,
    timeoutMs: timeoutMs || HOOK_MS,
    maxOutputBytes: 4096,
  });
  const { code, signal } = result.status;
  if (code === 0) return;
  const how = signal === null ? `code ${code}` : `signal ${signal}`;
  throw new RuntimeError('aborted', `it ended with ${how}: ${result.stderr.toString().trim()}`);
}

/** By one descriptor, so that what is measured is what is read; a FIFO does not hold the agent up. */
async function readHostFile(what: string, path: string, maxBytes: number): Promise<Uint8Array> {
  const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;
  const subject = `${what} ${path}`;
  let file;
  try {
    file = await open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTDIR'))
      throw wrap(error, `cannot read ${subject}`, 'failed-precondition');
    throw new RuntimeError('not-found', `${subject} does not exist: put it there`, error);
  }
  try {
    const status = await file.stat();
    if (!status.isFile())
      throw new RuntimeError('failed-precondition', `${subject} is not a regular file`);
    if (status.size > maxBytes)
      throw new RuntimeError('invalid-argument', `${subject} is larger than ${maxBytes} bytes`);
    const bytes = Buffer.alloc(status.size);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return bytes.subarray(0, length);
  } catch (error) {
    throw error instanceof RuntimeError
      ? error
      : wrap(error, `cannot read ${subject}`, 'failed-precondition');
  } finally {
    await file.close();
  }
}

async function readTextFile(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw wrap(error, `cannot read ${path}`);
  }
}

/** CRI callers expect a missing host path to become a folder, as with the other runtimes. */
async function ensureMountSource(path: string): Promise<() => Promise<void>> {
  try {
    await stat(path);
    return () => Promise.resolve();
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) {
      throw wrap(error, `cannot use mount host_path ${path}`, 'failed-precondition');
    }
  }
  try {
    const made = await mkdir(path, { recursive: true, mode: 0o755 });
    return () => removeEmpty(path, made ?? path);
  } catch (error) {
    throw wrap(error, `cannot make mount host_path ${path}`, 'failed-precondition');
  }
}

/** A folder and its parents up to `top`; what somebody has put a file into stays. */
async function removeEmpty(path: string, top: string): Promise<void> {
  try {
    for (let at = path; at.length >= top.length; at = dirname(at)) await rmdir(at);
  } catch (error) {
    if (!hasCode(error, 'ENOTEMPTY', 'ENOENT')) throw error;
  }
}

async function requireExisting(what: string, path: string): Promise<void> {
  try {
    await stat(path);
  } catch (error) {
    throw wrap(error, `cannot use ${what} ${path}`, 'failed-precondition');
  }
}

async function requireFolder(what: string, path: string): Promise<void> {
  try {
    if ((await stat(path)).isDirectory()) return;
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw wrap(error, `cannot use ${what} ${path}`);
    throw new RuntimeError('not-found', `${what} ${path} does not exist: make it first`, error);
  }
  throw new RuntimeError('failed-precondition', `${what} ${path} is not a folder: move it away`);
}
