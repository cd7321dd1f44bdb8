/** Runs the programs that volumes are made with: lvm2's, e2fsprogs' and OpenZFS's. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { RuntimeError, wrap } from '../core/errors.js';
import { runProcess, type ProcessSpawner } from '../native/process.js';

const FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin', '/usr/bin'];
/** A pool that is busy, or a lock that another program holds. */
const LIMIT_MS = 120_000;
/** A list of ten thousand volumes. */
const MAX_OUTPUT = 16 << 20;

export type StorageCommand = (program: string, ...args: string[]) => Promise<string>;

/** Answers what a program prints; one that fails is an error with its own words. */
export function createStorageCommand(
  spawner: ProcessSpawner,
  /** Debian package of a program, for the message when it is not there. */
  packages: Readonly<Record<string, string>>,
): StorageCommand {
  const paths = new Map<string, Promise<string>>();
  return async (program, ...args) => {
    const path = paths.get(program) ?? find(program, packages[program] ?? program);
    paths.set(program, path);
    path.catch(() => paths.delete(program));
    const { status, stdout, stderr } = await runProcess(spawner, {
      file: await path,
      argv: [program, ...args],
      env: ['LC_ALL=C', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'LVM_SUPPRESS_FD_WARNINGS=1'],
      timeoutMs: LIMIT_MS,
      maxOutputBytes: MAX_OUTPUT,
    });
    if (status.code === 0) return stdout.toString();
    const words = stderr
      .toString()
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && !line.startsWith('WARNING:'))
      .join('; ');
    const end = status.code === null ? `signal ${status.signal}` : `status ${status.code}`;
    throw new RuntimeError('internal', `${program} ${args[0] ?? ''} failed: ${words || end}`);
  };
}

async function find(program: string, name: string): Promise<string> {
  for (const folder of FOLDERS) {
    const path = `${folder}/${program}`;
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // In the next one, perhaps.
    }
  }
  throw new RuntimeError(
    'failed-precondition',
    `${program} is not installed: install the package ${name}`,
  );
}

/** An error whose words match gets a kind of its own. */
export function classified(
  error: unknown,
  kinds: readonly (readonly [RegExp, RuntimeError['kind']])[],
): unknown {
  if (!(error instanceof RuntimeError)) return error;
  const kind = kinds.find(([pattern]) => pattern.test(error.message))?.[1];
  return kind === undefined ? error : new RuntimeError(kind, error.message, error);
}

/** For names that reach the command line of such a program and come back in its tables. */
export function requireName(pattern: RegExp, key: string, value: string, expects: string): void {
  if (pattern.test(value)) return;
  throw wrap(
    new RuntimeError('invalid-argument', `${JSON.stringify(value)} is not ${expects}`),
    key,
  );
}
