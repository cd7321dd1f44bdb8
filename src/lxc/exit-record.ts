/** What a shim leaves in the container's folder: `started`, and `exit` at the end. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, RuntimeError } from '../core/errors.js';
import type { ExitRecord } from '../core/model.js';

/** undefined when the shim left none. */
export async function readExitRecord(directory: string): Promise<ExitRecord | undefined> {
  const path = join(directory, 'exit');
  try {
    return parseExitRecord(await readFile(path, 'utf8'), path);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** When the payload was started; 0n when it was not, or the machine stopped before that was on disk. */
export async function readStarted(directory: string): Promise<bigint> {
  try {
    const text = await readFile(join(directory, 'started'), 'utf8');
    return /^\d{1,20}\n$/.test(text) ? BigInt(text) : 0n;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 0n;
    throw error;
  }
}

/** `path` names the file in errors. */
export function parseExitRecord(text: string, path: string): ExitRecord {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const space = line.indexOf(' ');
    if (space > 0) fields.set(line.slice(0, space), line.slice(space + 1));
  }
  const integer = (key: string): bigint => {
    const value = fields.get(key) ?? '';
    if (!/^\d{1,20}$/.test(value))
      throw new RuntimeError('data-loss', `exit record ${path} has no valid field "${key}"`);
    return BigInt(value);
  };
  if (integer('version') !== 1n)
    throw new RuntimeError('data-loss', `exit record ${path} is of an unknown version`);
  return {
    exitCode: Number(integer('code')),
    signal: Number(integer('signal')),
    startedAt: integer('started'),
    finishedAt: integer('finished'),
    oomKilled: integer('oom') === 1n,
    message: fields.get('message') ?? '',
  };
}
