/** The mount table of this process. */
import { readFileSync } from 'node:fs';

/** Mount point of the filesystem that holds an absolute, resolved path. */
export function mountpointOf(path: string, mountinfo = readMountinfo()): string {
  let best = '/';
  for (const line of mountinfo.split('\n')) {
    // proc(5): id, parent, major:minor, root, mount point, ...; later lines cover earlier ones.
    const field = line.split(' ', 5)[4];
    if (field === undefined) continue;
    const point = unescape(field);
    const holds = point === '/' || path === point || path.startsWith(`${point}/`);
    if (holds && point.length >= best.length) best = point;
  }
  return best;
}

/** Space, tab, newline and backslash are octal there. */
function unescape(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

function readMountinfo(): string {
  return readFileSync('/proc/self/mountinfo', 'utf8');
}
