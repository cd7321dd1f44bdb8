/** Who the payload runs as: the request, the image's USER, and the root filesystem's passwd and group files. */
import { hasControlCharacter } from '../util/control-characters.js';
import { RuntimeError } from './errors.js';
import { parseImageUser, type ImageUser } from './image-user.js';
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
  const wanted = wantedUser(request, imageUser, passwd);

  const entry = passwd.find((e) =>
    wanted.kind === 'id' ? e.uid === wanted.uid : e.name === wanted.name,
  );
  if (wanted.kind === 'name' && !entry) {
    throw new RuntimeError(
      'invalid-argument',
      `user ${JSON.stringify(wanted.name)} is not in the image's /etc/passwd: name one that is, or set run_as_user`,
    );
  }
  const gid =
    request.gid === null
      ? primaryGroup(wanted, entry, groups)
      : requireId('run_as_group', request.gid);
  const merged =
    request.policy === 'strict' || !entry
      ? []
      : groups.filter((g) => g.members.includes(entry.name)).map((g) => g.gid);
  const listed = request.supplementalGroups.map((id) => requireId('supplemental group', id));
  return {
    uid: wanted.kind === 'id' ? wanted.uid : (entry?.uid ?? 0),
    gid,
    supplementalGroups: [...new Set([...listed, ...merged])],
    home: entry?.home ?? '/',
  };
}

function wantedUser(
  request: UserRequest,
  imageUser: string,
  passwd: readonly PasswdEntry[],
): ImageUser {
  if (request.uid !== null) return { kind: 'id', uid: requireId('run_as_user', request.uid) };
  const { username } = request;
  if (username !== '') {
    // A name may consist of digits; one that nobody has is a number.
    if (!isPlainId(username) || passwd.some((e) => e.name === username))
      return { kind: 'name', name: username };
    return { kind: 'id', uid: Number(username) };
  }
  return parseImageUser(imageUser);
}

function primaryGroup(
  wanted: ImageUser,
  entry: PasswdEntry | undefined,
  groups: readonly GroupEntry[],
): number {
  if (wanted.gid !== undefined) return wanted.gid;
  if (wanted.group === undefined) return entry?.gid ?? 0;
  const group = groups.find((g) => g.name === wanted.group);
  if (group) return group.gid;
  throw new RuntimeError(
    'invalid-argument',
    `group ${JSON.stringify(wanted.group)} is not in the image's /etc/group: name one that is, or set run_as_group`,
  );
}

function requireId(field: string, id: number): number {
  if (Number.isInteger(id) && id >= 0 && id <= MAX_ID) return id;
  throw new RuntimeError(
    'invalid-argument',
    `${field} ${id} is out of range: expected 0 to ${MAX_ID}`,
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
  return home.startsWith('/') && !hasControlCharacter(home) ? home : '/';
}
