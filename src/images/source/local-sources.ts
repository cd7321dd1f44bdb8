/** Which images of this node's own files may be pulled by whoever may name an image in a pod. */
import { realpath } from 'node:fs/promises';
import { normalize } from 'node:path';
import { RuntimeError } from '../../core/errors.js';
import type { ImageOrigin } from './image-origin.js';

/** As in `pve://STORAGE`; `*` stands for all of them. */
const VOLUMES = 'pve://';

/**
 * Throws unless `origin` is a registry's or lies in one of `allowed`: folders, and storages as
 * `pve://STORAGE`. Of what is not allowed nothing is told, not even whether it is there.
 */
export async function requireAllowedSource(
  reference: string,
  origin: ImageOrigin,
  allowed: readonly string[],
): Promise<void> {
  if (origin.kind === 'registry') return;
  const isAllowed =
    origin.kind === 'volume'
      ? [`${VOLUMES}${origin.volume.storage}`, `${VOLUMES}*`].some((each) => allowed.includes(each))
      : await isInAny(origin.path, allowed);
  if (isAllowed) return;
  const entry = origin.kind === 'volume' ? `${VOLUMES}${origin.volume.storage}` : 'its folder';
  throw new RuntimeError(
    'permission-denied',
    `${JSON.stringify(reference.slice(0, 300))} names files of this node, which pods may not choose: pull it here by pvecri pull, or add ${entry} to images.local_sources`,
  );
}

/** By the name given, and by where symbolic links lead. */
async function isInAny(path: string, allowed: readonly string[]): Promise<boolean> {
  const folders = allowed.filter((each) => each.startsWith('/'));
  const named = normalize(path);
  if (!folders.some((folder) => isIn(named, folder))) return false;
  // What is not there is told by whoever would open it.
  const real = await realpath(named).catch(() => named);
  const realFolders = await Promise.all(
    folders.map((folder) => realpath(folder).catch(() => folder)),
  );
  return realFolders.some((folder) => isIn(real, folder));
}

function isIn(path: string, folder: string): boolean {
  return folder === '/' || path === folder || path.startsWith(`${folder}/`);
}
