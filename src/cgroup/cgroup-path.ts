/** Paths of cgroups, absolute from the root of the hierarchy: `/kubepods/burstable/pod1`. */
import { RuntimeError } from '../core/errors.js';
import { hasControlCharacter } from '../util/control-characters.js';

/** The folders of a path from the top; [] for `/`. Rejects what could lead elsewhere. */
export function splitCgroupPath(path: string): string[] {
  if (path === '/') return [];
  const [first, ...parts] = path.split('/');
  if (first !== '' || parts.length === 0) throw malformed(path, 'it must begin with a slash');
  for (const part of parts) {
    if (part === '') throw malformed(path, 'it has an empty part');
    if (part === '.' || part === '..') throw malformed(path, `it has the part ${part}`);
  }
  if (hasControlCharacter(path)) throw malformed(path, 'it has a control character');
  return parts;
}

function malformed(path: string, why: string): RuntimeError {
  return new RuntimeError(
    'invalid-argument',
    `cgroup path ${JSON.stringify(path)} is malformed: ${why}`,
  );
}
