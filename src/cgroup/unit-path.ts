/** Which unit of systemd a cgroup belongs to, told by its path alone. */
import { BOX } from '../core/cgroup-layout.js';
import { RuntimeError } from '../core/errors.js';
import { slicePath } from '../core/slice-name.js';

export type UnitPath =
  { kind: 'slice'; slice: string } | { kind: 'scope'; slice: string; scope: ScopePath };

export interface ScopePath {
  /** `pvecri-<id>.scope` */
  name: string;
  /** The scope's own cgroup. */
  path: string;
  /** What is named is the scope itself or its box, not another folder of it. */
  whole: boolean;
}

/** undefined for a plain cgroup, that is one outside of slices, or below a unit that is not ours. */
export function readUnitPath(path: string): UnitPath | undefined {
  const parts = path.split('/').slice(1);
  const isPlain = (part: string): boolean => !part.endsWith('.slice');
  const depth = parts.some(isPlain) ? parts.findIndex(isPlain) : parts.length;
  const slice = parts[depth - 1];
  if (slice === undefined || !isSlice(slice, parts.slice(0, depth))) return undefined;
  const [name, ...below] = parts.slice(depth);
  if (name === undefined) return { kind: 'slice', slice };
  if (!/^pvecri[a-z0-9_]*-[a-z0-9]+\.scope$/.test(name)) return undefined;
  const whole = below.length === 0 || (below.length === 1 && below[0] === BOX);
  const scopePath = `/${parts.slice(0, depth + 1).join('/')}`;
  return { kind: 'scope', slice, scope: { name, path: scopePath, whole } };
}

/** cgroupfs may hold folders that are called slices and nested as none could be. */
function isSlice(name: string, parts: string[]): boolean {
  try {
    return slicePath(name) === `/${parts.join('/')}`;
  } catch (error) {
    if (error instanceof RuntimeError) return false;
    throw error;
  }
}
