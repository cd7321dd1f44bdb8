/** Checks on strings that come from outside and will reach a file, a path or a kernel interface. */
import { hasControlCharacter } from '../util/control-characters.js';
import { RuntimeError } from './errors.js';

/** `what` names the field, e.g. `sandbox hostname`. */
export function requireNoControl(what: string, value: string): string {
  if (hasControlCharacter(value)) {
    throw invalid(what, value, 'must not contain control characters such as newline or NUL');
  }
  return value;
}

/** For strings that go to execve as they are: only NUL is impossible. */
export function requireNoNul(what: string, value: string): string {
  if (value.includes('\0')) throw invalid(what, value, 'must not contain a NUL byte');
  return value;
}

/** An absolute path without `..`, control characters, or more than PATH_MAX bytes. */
export function requireAbsolutePath(what: string, value: string): string {
  requireNoControl(what, value);
  if (!value.startsWith('/')) throw invalid(what, value, 'must be an absolute path');
  if (value.split('/').includes('..')) throw invalid(what, value, 'must not contain ".."');
  if (Buffer.byteLength(value) >= 4096) throw invalid(what, value, 'must be under 4096 bytes');
  return value;
}

/** An absolute path of cgroup names, each at most NAME_MAX bytes, and not the root itself. */
export function requireCgroup(what: string, value: string): string {
  requireAbsolutePath(what, value);
  const isName = (part: string): boolean =>
    part !== '' && part !== '.' && Buffer.byteLength(part) <= 255;
  if (value.slice(1).split('/').every(isName)) return value;
  throw invalid(
    what,
    value,
    'must name a cgroup, such as /kubepods/pod1, without empty parts or "."',
  );
}

/** A relative path that stays below the folder it is joined to. */
export function requireRelativePath(what: string, value: string): string {
  requireNoControl(what, value);
  if (value.startsWith('/')) throw invalid(what, value, 'must be a relative path');
  if (value.split('/').includes('..')) throw invalid(what, value, 'must not contain ".."');
  return value;
}

export function requireNonEmpty(what: string, value: string): string {
  if (value === '')
    throw new RuntimeError('invalid-argument', `${what} is empty: it must be given`);
  return value;
}

function invalid(what: string, value: string, why: string): RuntimeError {
  const shown = value.length > 80 ? `${value.slice(0, 80)}…` : value;
  return new RuntimeError('invalid-argument', `${what} ${JSON.stringify(shown)} ${why}`);
}
