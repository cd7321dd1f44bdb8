/**
 * Repeated calls: the kubelet's client gives up after its deadline and asks again with the same
 * metadata. The repeat gets the first call's object, finished or still under way.
 */
import { createHash } from 'node:crypto';
import { RuntimeError } from '../core/errors.js';
import type { RuntimeContext } from './context.js';

/** One for every order of a map's entries: protobuf gives them none, and Go's encoder shuffles them. */
export function digestOf(request: object): string {
  const sorted = JSON.stringify(request, (_, value: unknown) =>
    isPairs(value) ? sort(value) : value,
  );
  return createHash('sha256').update(sorted).digest('hex');
}

function isPairs(value: unknown): value is [string, unknown][] {
  return (
    Array.isArray(value) &&
    value.every((each) => Array.isArray(each) && each.length === 2 && typeof each[0] === 'string')
  );
}

/** Stable: of two variables of one name the later wins, so their order means something. */
function sort(pairs: [string, unknown][]): [string, unknown][] {
  return pairs.toSorted(([a], [b]) => (a < b ? -1 : Number(a > b)));
}

/**
 * Runs `make` once per name. `existing` is a finished object of that name, and whether a repeat may
 * adopt it in the state it is in.
 */
export async function adoptOrMake(
  context: RuntimeContext,
  options: {
    what: string;
    name: string;
    digest: string;
    existing: { id: string; digest: string; adoptable: boolean } | undefined;
    make: () => Promise<string>;
  },
): Promise<string> {
  const { what, name, digest, existing, make } = options;
  const pending = context.pending.get(name);
  if (pending) {
    if (pending.digest === digest) return pending.result;
    throw new RuntimeError(
      'aborted',
      `${what} is being made by an earlier call with a different configuration: try again when that has ended`,
    );
  }
  if (existing) {
    if (existing.adoptable && existing.digest === digest) return existing.id;
    throw new RuntimeError(
      'already-exists',
      `${what} exists already with id ${existing.id}: remove it first or use another attempt number`,
    );
  }
  const result = make();
  context.pending.set(name, { digest, result });
  try {
    return await result;
  } finally {
    context.pending.delete(name);
  }
}
