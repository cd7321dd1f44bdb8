/** Extended attributes, which Node has no calls for; Python is there, because node-gyp needs it. */
import { execFileSync } from 'node:child_process';

const SET = 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], sys.argv[3].encode())';
const GET = `import os, sys
try: sys.stdout.buffer.write(b'=' + os.getxattr(sys.argv[1], sys.argv[2], follow_symlinks=False))
except OSError: pass`;

export function setAttribute(path: string, name: string, value: string): void {
  execFileSync('/usr/bin/python3', ['-c', SET, path, name, value]);
}

/** undefined when there is none. */
export function getAttribute(path: string, name: string): Buffer | undefined {
  const output = execFileSync('/usr/bin/python3', ['-c', GET, path, name]);
  return output.length === 0 ? undefined : output.subarray(1);
}
