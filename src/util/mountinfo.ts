/** The mount table of this process. */
import { readFileSync } from 'node:fs';

export interface MountedFilesystem {
  mountpoint: string;
  /** As mount(8) names it: "ext4", "tmpfs". */
  type: string;
  /** A device, mostly. */
  source: string;
}

/** Mount point of the filesystem that holds an absolute, resolved path. */
export function mountpointOf(path: string, mountinfo = readMountinfo()): string {
  return filesystemOf(path, mountinfo).mountpoint;
}

/** The filesystem that holds an absolute, resolved path. */
export function filesystemOf(path: string, mountinfo = readMountinfo()): MountedFilesystem {
  let best: MountedFilesystem = { mountpoint: '/', type: 'unknown', source: 'none' };
  for (const line of mountinfo.split('\n')) {
    // proc(5): id, parent, major:minor, root, mount point, ..., "-", type, source, options; later
    // lines cover earlier ones.
    const [mount = '', filesystem = ''] = line.split(' - ', 2);
    const field = mount.split(' ', 5)[4];
    if (field === undefined) continue;
    const mountpoint = unescape(field);
    const holds = mountpoint === '/' || path === mountpoint || path.startsWith(`${mountpoint}/`);
    if (!holds || mountpoint.length < best.mountpoint.length) continue;
    const [type = 'unknown', source = 'none'] = filesystem.split(' ', 2).map(unescape);
    best = { mountpoint, type, source };
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
