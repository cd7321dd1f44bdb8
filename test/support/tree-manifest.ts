/** What a folder holds, entry by entry, for comparing two trees. */
import { execFileSync } from 'node:child_process';

// overlayfs lists a whiteout, which then is not there, in a folder that one layer alone has. One process for a whole tree. Names of an inode are grouped under the first of them.
const SCRIPT = `import json, os, stat, sys
root, out, first = sys.argv[1], {}, {}
for folder, folders, files in os.walk(root):
    for name in folders + files:
        path = os.path.join(folder, name)
        try: s = os.lstat(path)
        except FileNotFoundError: continue
        kind = stat.S_IFMT(s.st_mode)
        shown = os.path.relpath(path, root)
        fact = [oct(s.st_mode), s.st_uid, s.st_gid, int(s.st_mtime)]
        fact += [f"{k}={os.getxattr(path, k, follow_symlinks=False)}" for k in sorted(os.listxattr(path, follow_symlinks=False))]
        if kind == stat.S_IFLNK: fact.append(os.readlink(path))
        if kind == stat.S_IFREG: fact.append(open(path, "rb").read().hex())
        out[shown] = fact
for path in sorted(out):
    s = os.lstat(os.path.join(root, path))
    if not stat.S_ISDIR(s.st_mode): out[path].append(first.setdefault((s.st_dev, s.st_ino), path))
print(json.dumps(out))`;

export type TreeManifest = Record<string, unknown[]>;

/** Everything below `path`, but not the folder itself. */
export function manifestOf(path: string): TreeManifest {
  const output = execFileSync('/usr/bin/python3', ['-c', SCRIPT, path], { encoding: 'utf8' });
  return JSON.parse(output) as TreeManifest;
}
