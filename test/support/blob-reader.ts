/** Blobs of images made by a test, in files, as a push reads them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlobReader } from '../../src/images/registry/push.js';
import type { Blob, BuiltImage } from './oci-image.js';

export function blobsIn(folder: string, ...content: (BuiltImage | Blob)[]): BlobReader {
  mkdirSync(folder, { recursive: true });
  const sizes = new Map<string, number>();
  for (const each of content) {
    for (const { digest, bytes } of 'manifest' in each ? [each.manifest, ...each.blobs] : [each]) {
      writeFileSync(join(folder, digest), bytes);
      sizes.set(digest, bytes.length);
    }
  }
  return {
    openBlob: async (digest) => {
      const size = sizes.get(digest);
      return size === undefined ? undefined : { file: await open(join(folder, digest)), size };
    },
  };
}
