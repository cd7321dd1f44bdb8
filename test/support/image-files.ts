/** What lies in the folders of an image store, and what of it its records need. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface StoredImage {
  layers: string[];
  blobs: string[];
  layerBlobs: string[];
}

/** Files and folders of the store that no record has a use for, and what a record has not got. */
export function unreferencedImageFiles(root: string): string[] {
  const images = join(root, 'images');
  const records = readdirSync(join(images, 'records')).filter((name) => !name.startsWith('.'));
  const stored = records.map(
    (name) => JSON.parse(readFileSync(join(images, 'records', name), 'utf8')) as StoredImage,
  );
  const needed = new Set([
    ...stored.flatMap(({ blobs, layerBlobs }) =>
      [...blobs, ...layerBlobs].map((digest) => `blobs/sha256/${digest.slice(7)}`),
    ),
    ...stored.flatMap(({ layers }) => layers.map((digest) => `layers/${digest.slice(7)}`)),
  ]);
  const there = ['blobs/sha256', 'layers', 'layers/.tmp', 'tmp'].flatMap((folder) =>
    readdirSync(join(images, folder)).map((name) => `${folder}/${name}`),
  );
  return [
    ...readdirSync(join(images, 'records')).filter((name) => name.startsWith('.')),
    ...there.filter((path) => path !== 'layers/.tmp' && !needed.has(path)),
    ...[...needed].filter((path) => !there.includes(path)).map((path) => `${path} is missing`),
  ];
}
