/** setxattr(2), which Node has no call for; Python is there, because node-gyp needs it. */
import { execFileSync } from 'node:child_process';

const SCRIPT = 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], sys.argv[3].encode())';

export function setAttribute(path: string, name: string, value: string): void {
  execFileSync('/usr/bin/python3', ['-c', SCRIPT, path, name, value]);
}
