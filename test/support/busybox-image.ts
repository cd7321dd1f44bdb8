/** The image of the end-to-end tests: the host's static busybox and a link for each of its applets. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { buildImage, writeLayout, type BuiltImage } from './oci-image.js';
import { file, folder, symlink, type TarEntry } from './tar.js';

/** Writes an OCI layout with one image and returns the reference to pull. */
export function writeBusyboxLayout(path: string, config: Record<string, unknown> = {}): string {
  writeLayout(path, { 'example.org/busybox:1': busyboxImage(config) });
  return `oci:${path}:example.org/busybox:1`;
}

/** `more` lies in a layer above. */
export function busyboxImage(
  config: Record<string, unknown> = {},
  more: TarEntry[] = [],
): BuiltImage {
  const applets = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n');
  return buildImage({
    layers: [
      [
        ...['bin', 'etc', 'home', 'tmp', 'dev', 'proc', 'sys'].map((name) => folder(name)),
        file('bin/busybox', readFileSync('/bin/busybox'), { mode: 0o755 }),
        ...applets
          .filter((name) => name !== 'busybox')
          .map((name) => symlink(`bin/${name}`, 'busybox')),
        file('etc/passwd', 'root:x:0:0:root:/:/bin/sh\napp:x:1000:1000::/home:/bin/sh\n'),
        file('etc/group', 'root:x:0:\napp:x:1000:\nextra:x:2000:app\n'),
      ],
      ...(more.length > 0 ? [more] : []),
    ],
    config: { Env: ['PATH=/bin'], Cmd: ['/bin/sh'], ...config },
  });
}
