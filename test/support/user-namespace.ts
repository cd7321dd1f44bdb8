/** Real user namespaces for tests, and programs in them. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeFileSync } from 'node:fs';

export interface UserNamespace {
  /** Of the namespace, which lives as long as this is open. */
  fd: number;
  close: () => void;
  /** Runs a shell script as the namespace's id (user and group) with a folder for its working folder. */
  run: (script: string, options: { folder: number; id?: number }) => string;
}

/** Ids from 0 on are the host's from `base` on. */
export async function makeUserNamespace(base: number, count = 65536): Promise<UserNamespace> {
  const holder = spawn('unshare', ['--user', 'sh', '-c', 'echo ready; read -r end'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    await once(holder.stdout, 'data');
    for (const map of ['uid_map', 'gid_map']) {
      writeFileSync(`/proc/${holder.pid}/${map}`, `0 ${base} ${count}\n`);
    }
    const fd = openSync(`/proc/${holder.pid}/ns/user`, 'r');
    return {
      fd,
      close: () => {
        closeSync(fd);
      },
      run: (script, { folder, id = 0 }) =>
        execFileSync(
          'nsenter',
          // Descriptors 3 and 4 of the program.
          [
            ...[
              '--user=/proc/self/fd/4',
              `--setuid=${id}`,
              `--setgid=${id}`,
              '--wd=/proc/self/fd/3',
            ],
            ...['--', 'sh', '-euc', script],
          ],
          { stdio: ['ignore', 'pipe', 'pipe', folder, fd], encoding: 'utf8' },
        ),
    };
  } finally {
    const ended = once(holder, 'exit');
    holder.stdin.end('\n');
    await ended;
  }
}
