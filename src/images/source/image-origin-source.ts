/** From where an image is named to where its parts are read. */
import type { RegistryAuth } from '../../core/ports/images.js';
import type { ReadOrigin } from './image-origin.js';
import type { ImageSource } from './image-source.js';
import { LayoutSource } from '../archive/layout-source.js';

/** Images of a registry. */
export type OpenRegistry = (
  origin: Extract<ReadOrigin, { kind: 'registry' }>,
  auth: RegistryAuth | null,
) => Promise<ImageSource>;

export async function openSource(
  openRegistry: OpenRegistry,
  origin: ReadOrigin,
  auth: RegistryAuth | null,
): Promise<ImageSource> {
  return origin.kind === 'registry' ? openRegistry(origin, auth) : LayoutSource.open(origin);
}

/** Opens what has another tag in the same repository or layout. */
export type OpenSibling = (tag: string) => Promise<ImageSource>;

export function openSibling(
  openRegistry: OpenRegistry,
  origin: ReadOrigin,
  auth: RegistryAuth | null,
): OpenSibling {
  return (tag) =>
    openSource(
      openRegistry,
      origin.kind === 'registry'
        ? { ...origin, reference: { ...origin.reference, tag, digest: '' } }
        : { ...origin, name: tag },
      auth,
    );
}
