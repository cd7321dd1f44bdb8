/** Who the payload runs as: the request, the image's USER, and the root filesystem's passwd and group files. */
import { RuntimeError } from './errors.js';
import type { UserRequest } from './requests.js';

export interface ResolvedUser {
  uid: number;
  gid: number;
  supplementalGroups: number[];
  home: string;
}

export interface UserFiles {
  passwd: string | null;
  group: string | null;
}

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

interface GroupEntry {
  name: string;
  gid: number;
  members: string[];
}

/** Largest id: (uid_t)-1 is reserved by the kernel for "no change" (setresuid(2)). */
const MAX_ID = 4294967294;
const DECIMAL = /^(0|[1-9]\d{0,9})$/;

/**
 * Order of precedence as CRI has it: run_as_user, run_as_username, the image's USER, root.
 * run_as_group replaces the primary group. The primary group is always among the process's groups.
 */
export function resolveUser(
  request: UserRequest,
  imageUser: string,
  files: UserFiles,
): ResolvedUser {
  const passwd = parsePasswd(files.passwd ?? '');
  const groups = parseGroup(files.group ?? '');
  const [userText, groupText] = splitUser(request, imageUser);

  const uid = parseId(userText);
  const entry = passwd.find((e) => (uid === null ? e.name === userText : e.uid === uid));
  if (uid === null && !entry) {
    throw new RuntimeError(
      'invalid-argument',
      `user ${JSON.stringify(userText)} is not in the image's /etc/passwd: name one that is, or set run_as_user`,
    );
  }
  const gid = request.gid ?? primaryGroup(groupText, entry, groups);
  const merged =
    request.policy === 'strict' || !entry
      ? []
      : groups.filter((g) => g.members.includes(entry.name)).map((g) => g.gid);
  const supplementalGroups = [...new Set([...request.supplementalGroups, ...merged])];
  for (const id of [request.uid, request.gid, ...request.supplementalGroups]) {
    if (id !== null) requireId(id);
  }
  return { uid: uid ?? entry?.uid ?? 0, gid, supplementalGroups, home: entry?.home ?? '/' };
}

function splitUser(request: UserRequest, imageUser: string): [user: string, group: string] {
  if (request.uid !== null) return [String(requireId(request.uid)), ''];
  if (request.username !== '') return [request.username, ''];
  const [user = '', group = '', ...rest] = imageUser.split(':');
  if (rest.length > 0) {
    throw new RuntimeError(
      'invalid-argument',
      `image user ${JSON.stringify(imageUser.slice(0, 80))} is malformed: expected user[:group]`,
    );
  }
  return [user === '' ? '0' : user, group];
}

function primaryGroup(
  text: string,
  entry: PasswdEntry | undefined,
  groups: readonly GroupEntry[],
): number {
  if (text === '') return entry?.gid ?? 0;
  const gid = parseId(text);
  if (gid !== null) return gid;
  const group = groups.find((g) => g.name === text);
  if (group) return group.gid;
  throw new RuntimeError(
    'invalid-argument',
    `group ${JSON.stringify(text)} is not in the image's /etc/group: name one that is, or set run_as_group`,
  );
}

/**
 * A number, or null for a name. Anything that a lenient parser might wrap around to another id, to
 * root above all, is refused (CVE-2024-40635): signs, hex, leading zeros, and 2^32 - 1 or more.
 */
function parseId(text: string): number | null {
  if (DECIMAL.test(text)) return requireId(Number(text));
  if (/^[+-]?[0-9]/.test(text)) {
    throw new RuntimeError(
      'invalid-argument',
      `user or group id ${JSON.stringify(text.slice(0, 80))} is malformed: expected a decimal number up to ${MAX_ID}`,
    );
  }
  return null;
}

function requireId(id: number): number {
  if (Number.isInteger(id) && id >= 0 && id <= MAX_ID) return id;
  throw new RuntimeError(
    'invalid-argument',
    `user or group id ${id} is out of range: expected 0 to ${MAX_ID}`,
  );
}

/** Lines that are not well-formed are skipped: the file is the image's, and hostile. */
function parsePasswd(text: string): PasswdEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , uid = '', gid = '', , home = ''] = line.split(':');
    if (name === '' || !isPlainId(uid) || !isPlainId(gid)) return [];
    return [{ name, uid: Number(uid), gid: Number(gid), home: cleanHome(home) }];
  });
}

function parseGroup(text: string): GroupEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , gid = '', members = ''] = line.split(':');
    if (name === '' || !isPlainId(gid)) return [];
    return [{ name, gid: Number(gid), members: members.split(',').map((m) => m.trim()) }];
  });
}

function isPlainId(text: string): boolean {
  return DECIMAL.test(text) && Number(text) <= MAX_ID;
}

function cleanHome(home: string): string {
  return home.startsWith('/') && !/[\u0000-\u001f\u007f]/.test(home) ? home : '/';
}
