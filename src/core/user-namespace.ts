/** A pod's user namespace: what a request may ask for, and the forms the kernel and liblxc want. */
import { RuntimeError } from './errors.js';
import type { IdRange, UserNamespace } from './model.js';

/** 2^32-1 stands for "no id" in the kernel. */
const LAST_ID = 2 ** 32 - 2;

/**
 * One range from id 0 on for users and one for groups, as the kubelet gives them: liblxc and idmapped
 * mounts could do more, but nothing asks for it. `what` names the field.
 */
export function parseUserNamespace(
  what: string,
  wanted: { uids: readonly IdRange[]; gids: readonly IdRange[] },
): UserNamespace {
  return {
    uids: oneRange(`${what}.uids`, wanted.uids),
    gids: oneRange(`${what}.gids`, wanted.gids),
  };
}

function oneRange(what: string, ranges: readonly IdRange[]): IdRange {
  const [range] = ranges;
  if (range === undefined || ranges.length > 1) {
    throw new RuntimeError(
      'invalid-argument',
      `${what}: ${ranges.length} mappings are given (${ranges.slice(0, 5).map(words).join(', ')}): give exactly one`,
    );
  }
  const refuse = (why: string): RuntimeError =>
    new RuntimeError('invalid-argument', `${what}: mapping of ${words(range)} ${why}`);
  if (range.length < 1) throw refuse('is empty: its length must be at least 1');
  if (range.containerId !== 0) throw refuse('leaves out container id 0: it must begin there');
  if (range.hostId < 1) {
    throw refuse('includes host id 0, the root of this node: its host_id must be at least 1');
  }
  if (range.hostId + range.length - 1 > LAST_ID) throw refuse(`ends above host id ${LAST_ID}`);
  return { containerId: 0, hostId: range.hostId, length: range.length };
}

function words({ containerId, hostId, length }: IdRange): string {
  return `container ids from ${containerId} to host ids from ${hostId}, length ${length}`;
}

export function isSameMap(a: UserNamespace, b: UserNamespace): boolean {
  return isSameRange(a.uids, b.uids) && isSameRange(a.gids, b.gids);
}

function isSameRange(a: IdRange, b: IdRange): boolean {
  return a.hostId === b.hostId && a.length === b.length && a.containerId === b.containerId;
}

/** The ids of the host that two maps have in common, in words; undefined for none. */
export function overlapOf(a: UserNamespace, b: UserNamespace): string | undefined {
  for (const kind of ['uids', 'gids'] as const) {
    const first = Math.max(a[kind].hostId, b[kind].hostId);
    const last = Math.min(a[kind].hostId + a[kind].length, b[kind].hostId + b[kind].length) - 1;
    if (first <= last) return `${kind} ${first} to ${last}`;
  }
  return undefined;
}

/** What a map means to people, in a refusal. */
export function describeMap({ uids, gids }: UserNamespace): string {
  return `uids: ${words(uids)}; gids: ${words(gids)}`;
}

/** A line of /proc/PID/uid_map. */
export function mapLine({ containerId, hostId, length }: IdRange): string {
  return `${containerId} ${hostId} ${length}\n`;
}

/** Throws for an id that the pod's containers cannot have. */
export function requireMapped(
  what: string,
  { uids, gids }: UserNamespace,
  user: { uid: number; gid: number; supplementalGroups: readonly number[] },
): void {
  const refuse = (kind: string, id: number, length: number): RuntimeError =>
    new RuntimeError(
      'invalid-argument',
      `${what}: ${kind} ${id} is not mapped in the pod's user namespace, which has ids 0 to ${length - 1}`,
    );
  if (user.uid >= uids.length) throw refuse('user', user.uid, uids.length);
  for (const gid of [user.gid, ...user.supplementalGroups]) {
    if (gid >= gids.length) throw refuse('group', gid, gids.length);
  }
}
