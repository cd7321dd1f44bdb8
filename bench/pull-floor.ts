/** What no pull can do without, by the fastest plain programs there are. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import type { Compression, LayerFile } from './pull-image.js';

/** Each line of its input is a blob and the program that decompresses it. */
const SCRIPT = `
xargs -P 2 -L 1 sh -euc '
  target=$(mktemp -d -p "$FLOOR_TARGET")
  plain=$(mktemp -p "$FLOOR_PLAIN")
  cp "$0" "$target.blob"
  openssl dgst -sha256 "$0" > /dev/null
  "$1" -dc "$0" > "$plain"
  openssl dgst -sha256 "$plain" > /dev/null
  tar -x -f "$plain" -C "$target"
  rm "$plain"
'
sync -f "$FLOOR_TARGET"
`;

/**
 * The blob kept, hashed, decompressed, its content hashed and written, two layers at a time on two
 * processors; one sync at the end. `plain` is for what is decompressed: on a tmpfs, always.
 */
export function floor(
  layers: readonly LayerFile[],
  compression: Compression,
  folders: { target: string; plain: string },
): void {
  const program = compression === 'gzip' ? 'igzip' : 'zstd';
  mkdirSync(folders.target);
  execFileSync('sh', ['-euc', SCRIPT], {
    input: layers.map(({ blobs }) => `${blobs[compression]} ${program}\n`).join(''),
    env: { ...process.env, FLOOR_TARGET: folders.target, FLOOR_PLAIN: folders.plain },
    stdio: ['pipe', 'ignore', 'inherit'],
  });
}
