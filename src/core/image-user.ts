/** The USER of an image config: an id or a name, and never a number that means another one. */
import { RuntimeError } from './errors.js';

/** At most one of `gid` and `group` is there; without either the user's own primary group counts. */
export type ImageUser = ({ kind: 'id'; uid: number } | { kind: 'name'; name: string }) & {
  gid?: number;
  group?: string;
};

const NUMBER = /^(?:0|[1-9][0-9]{0,9})$/;
const NAME = /^[A-Za-z_][A-Za-z0-9_.@-]{0,254}\$?$/;
/** What fits a signed 32-bit integer: beyond it, runtimes have wrapped around to root (CVE-2024-40635). */
const LARGEST_ID = 0x7fffffff;

/** '' is root, as images without a USER run. */
export function parseImageUser(text: string): ImageUser {
  if (text === '') return { kind: 'id', uid: 0 };
  const colon = text.indexOf(':');
  const user = parsePart(text, colon < 0 ? text : text.slice(0, colon));
  const owner =
    typeof user === 'number'
      ? ({ kind: 'id', uid: user } as const)
      : ({ kind: 'name', name: user } as const);
  if (colon < 0) return owner;
  const group = parsePart(text, text.slice(colon + 1));
  return typeof group === 'number' ? { ...owner, gid: group } : { ...owner, group };
}

function parsePart(text: string, part: string): number | string {
  if (NUMBER.test(part) && Number(part) <= LARGEST_ID) return Number(part);
  if (NAME.test(part)) return part;
  throw new RuntimeError(
    'invalid-argument',
    `user ${JSON.stringify(text.slice(0, 80))} of the image is malformed: ` +
      `${JSON.stringify(part.slice(0, 80))} is neither a name nor a decimal number up to ${LARGEST_ID}`,
  );
}
