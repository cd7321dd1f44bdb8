/** The images in an archive: an OCI image layout, or what `docker save` writes, compressed or not. */
import { RuntimeError } from '../../core/errors.js';
import { readDockerArchive } from './docker-archive.js';
import type { ArchivedImage } from '../source/image-source.js';
import { LayoutArchive } from './layout-files.js';
import { readLayoutArchive } from './layout-archive.js';

/** `name` is the archive's own, for images that have none. */
export async function readImageArchive(path: string, name: string): Promise<ArchivedImage[]> {
  const files = await LayoutArchive.open(path, 'the archive');
  const images = files.has('index.json')
    ? await readLayoutArchive(files, name)
    : files.has('manifest.json')
      ? await readDockerArchive(files)
      : undefined;
  if (images === undefined) {
    throw new RuntimeError(
      'invalid-argument',
      'the archive holds no images: it has neither index.json (OCI) nor manifest.json (docker save)',
    );
  }
  if (images.length === 0) throw new RuntimeError('not-found', 'the archive holds no image');
  return images;
}
