/** Cgroups below a container's that a killed helper could not clean up itself. */
import { rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../core/errors.js';

const ATTEMPTS = 40;
const PAUSE_MS = 25;

/** Kills everything in it. OK when it is not there. */
export async function killLeaf(folder: string): Promise<void> {
  try {
    await writeFile(join(folder, 'cgroup.kill'), '1');
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
  }
}

/** OK when it is not there. One that stays populated is left for the container's removal. */
export async function removeLeaf(folder: string): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    try {
      await rmdir(folder);
      return;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      // What was killed takes a moment to be gone.
      if (!hasCode(error, 'EBUSY')) throw error;
      await sleep(PAUSE_MS);
    }
  }
}
