/** A root file system of the host's static busybox, for tests that run containers. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { NativeAddon } from '../../src/native/binding.js';

/** Fills a folder with busybox, its applets, and the files a small image has. */
export function makeBusyboxRoot(folder: string): void {
  for (const name of ['bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev', 'data'])
    mkdirSync(join(folder, name), { recursive: true });
  chmodSync(join(folder, 'tmp'), 0o1777);
  copyFileSync('/bin/busybox', join(folder, 'bin/busybox'));
  const applets = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n');
  for (const applet of applets)
    if (applet !== 'busybox') symlinkSync('busybox', join(folder, 'bin', applet));
  writeFileSync(
    join(folder, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:\n',
  );
  writeFileSync(join(folder, 'etc/group'), 'root:x:0:\nuser:x:1000:\n');
}

/** A detached overlay of a folder with a writable layer of its own, as RootfsStorage.mount gives it. */
export function detachedRoot(addon: NativeAddon, lower: string, layers: string): Promise<number> {
  mkdirSync(layers, { recursive: true });
  const layer = mkdtempSync(join(layers, 'layer-'));
  const [upper, work] = [join(layer, 'upper'), join(layer, 'work')];
  mkdirSync(upper);
  mkdirSync(work);
  return addon.mountOverlay({ lower: [lower], upper, work });
}
