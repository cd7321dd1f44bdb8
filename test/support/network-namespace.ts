/** Network namespaces pinned to files, for tests that must not touch the host's network. */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';

/** Makes a namespace with its loopback up, bound to a new file. */
export function pinNetworkNamespace(path: string): void {
  writeFileSync(path, '');
  execFileSync('unshare', [`--net=${path}`, 'ip', 'link', 'set', 'lo', 'up']);
}

export function unpinNetworkNamespace(path: string): void {
  execFileSync('umount', [path], { stdio: 'ignore' });
  rmSync(path, { force: true });
}

/** Runs a program inside and returns what it printed. */
export function inNetworkNamespace(path: string, ...command: string[]): string {
  return execFileSync('nsenter', [`--net=${path}`, ...command], { encoding: 'utf8' });
}
