/** Removal of folders whose content strangers have made. OK when there is none. */
import { rename, rm } from 'node:fs/promises';

/** Half of PATH_MAX: room for what lies below a folder that has been moved up. */
const LONGEST_PATH = 2048;

/**
 * rm(1) by paths, as Node does it, fails where a container has made folders deeper than PATH_MAX: such
 * a part is moved up beside `path` first, as often as it takes.
 */
export async function removeTree(path: string): Promise<void> {
  const parts = [path];
  for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
    try {
      await rm(part, { recursive: true, force: true });
    } catch (error) {
      const tooLong = pathOfTooLong(error);
      if (tooLong === undefined) throw error;
      const cut = tooLong.lastIndexOf('/', LONGEST_PATH);
      const moved = `${path}.deep-${parts.length}`;
      await rename(tooLong.slice(0, cut), moved);
      parts.push(part, moved);
    }
  }
}

function pathOfTooLong(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, path } = error as NodeJS.ErrnoException;
  return code === 'ENAMETOOLONG' ? path : undefined;
}
