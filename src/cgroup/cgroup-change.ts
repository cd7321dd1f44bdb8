/** Changing limits that are in force: in which order, and how to go back when the kernel refuses one. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type { CgroupPlan, CgroupWrite } from '../core/model.js';
import type { CgroupChange } from '../core/ports/cgroup.js';

interface Step extends CgroupWrite {
  before: string;
  rank: number;
}

const RAISED = 0;
const OTHER = 1;
const LOWERED = 2;

/** `folderOf` gives the folder of a cgroup path. */
export async function planChange(
  changes: readonly CgroupChange[],
  folderOf: (path: string) => string,
): Promise<CgroupPlan> {
  const steps: Step[] = [];
  for (const { path, file, value, optional } of changes) {
    const before = await readValue(folderOf(path), path, file, optional === true);
    if (before === undefined || before === value) continue;
    const rank = rankOf(file, before, value);
    if (file === 'memory.max' && rank === LOWERED) {
      await makeRoom(folderOf(path), path, Number(value));
    }
    steps.push({ path, file, value, before, rank });
  }
  // What is raised comes first: memory that must go may then go to swap, and no limit is tighter on
  // the way than at either end. A leaf is lowered before what holds it.
  steps.sort((a, b) => a.rank - b.rank || (a.rank === LOWERED ? b.path.length - a.path.length : 0));
  return {
    writes: steps.map(({ path, file, value }) => ({ path, file, value })),
    undo: steps
      .map(({ path, file, value, before }) => ({
        path,
        file,
        value: earlierValue(file, before, value),
      }))
      .reverse(),
  };
}

export async function writeSetting(
  folder: string,
  path: string,
  { file, value }: { file: string; value: string },
): Promise<void> {
  try {
    // Nothing at all would be written for an empty value, which clears a cpuset.
    await writeFile(join(folder, file), value === '' ? '\n' : value);
  } catch (error) {
    throw refused(error, `cannot set ${file} of cgroup ${path} to ${JSON.stringify(value)}`);
  }
}

async function readValue(
  folder: string,
  path: string,
  file: string,
  optional: boolean,
): Promise<string | undefined> {
  try {
    return (await readFile(join(folder, file), 'utf8')).trim();
  } catch (error) {
    if (optional && hasCode(error, 'ENOENT', 'ENODEV')) return undefined;
    throw refused(error, `cannot change ${file} of cgroup ${path}`);
  }
}

function refused(error: unknown, what: string): RuntimeError {
  if (hasCode(error, 'ENODEV')) return wrap(error, what, 'failed-precondition');
  // A file the kernel does not have, a number it does not take: the caller's to mend.
  const theirs = hasCode(error, 'ENOENT', 'EINVAL', 'ERANGE', 'EACCES', 'EOPNOTSUPP');
  return wrap(error, what, theirs ? 'invalid-argument' : 'internal');
}

/** Limits by their first word, `max` being the highest; other files have no order. */
function rankOf(file: string, before: string, value: string): number {
  if (!/^(memory\.(max|high|swap\.max|swap\.high)|cpu\.max|pids\.max)$/.test(file)) return OTHER;
  const change = limitOf(value) - limitOf(before);
  if (Number.isNaN(change)) return OTHER;
  return change < 0 ? LOWERED : RAISED;
}

function limitOf(text: string): number {
  const [limit = '', period = '1'] = text.split(' ');
  return limit === 'max' ? Number.POSITIVE_INFINITY : Number(limit) / Number(period);
}

/**
 * Under a limit below its use the kernel would kill the container (memory.max in cgroup-v2.rst). The
 * page cache and what swap takes can go; more cannot.
 */
async function makeRoom(folder: string, path: string, limit: number): Promise<void> {
  const usage = async (): Promise<number> =>
    Number(await readFile(join(folder, 'memory.current'), 'utf8'));
  const excess = (await usage()) - limit;
  if (!(excess > 0)) return;
  try {
    await writeFile(join(folder, 'memory.reclaim'), String(excess));
  } catch (error) {
    // EAGAIN: not all of it went. ENOENT: the kernel is older than 5.19.
    if (!hasCode(error, 'EAGAIN', 'ENOENT')) throw wrap(error, `cannot reclaim memory of ${path}`);
  }
  const left = await usage();
  if (left <= limit) return;
  throw new RuntimeError(
    'failed-precondition',
    `memory limit ${limit} of cgroup ${path} is below the ${left} bytes in use: it would be killed; use a higher limit`,
  );
}

/** What an entry of a file with one line per device is when nobody has set it. */
const UNSET: Readonly<Record<string, string>> = {
  'io.max': 'rbps=max wbps=max riops=max wiops=max',
  'io.weight': 'default',
  'io.latency': 'target=0',
  'rdma.max': 'hca_handle=max hca_object=max',
  'misc.max': 'max',
};

function earlierValue(file: string, before: string, value: string): string {
  const unset = UNSET[file];
  if (unset === undefined) return before;
  const key = value.split(' ')[0] ?? '';
  const line = before.split('\n').find((each) => each.split(' ')[0] === key);
  return line ?? `${key} ${unset}`;
}
