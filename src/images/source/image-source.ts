/** Where the parts of one image come from while it is pulled: a registry, a layout folder, an archive. */
import type { FileHandle } from 'node:fs/promises';
import type { ImageReference } from '../../core/image-reference.js';
import type { Descriptor } from '../../core/oci.js';

/** The manifest or index that a reference names, verified where the reference has a digest. */
export interface RootDocument {
  mediaType: string;
  digest: string;
  bytes: Uint8Array;
  /** `registry/repository:tag`, '' where the image gets no tag. */
  repoTag: string;
  /** `registry/repository@sha256:…`, '' for an image without a name. */
  repoDigest: string;
}

export interface LayerRequest {
  descriptor: Descriptor;
  /** Empty; to be filled with the blob, whose digest has been verified when fetchLayer resolves. */
  file: FileHandle;
  signal: AbortSignal;
  onBytes: (doneBytes: number) => void;
}

export interface ImageSource {
  resolve(signal: AbortSignal): Promise<RootDocument>;
  /** A child manifest or config, not yet verified; at most `maxBytes` of it are read. */
  fetchDocument(descriptor: Descriptor, maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
  /** A compressed layer. */
  fetchLayer(request: LayerRequest): Promise<void>;
  /**
   * What may be a sigstore bundle of a manifest in the same place, undefined when nothing is told: a list
   * may then be under a tag. Left out where nothing but tags can tell.
   */
  referrers?(digest: string, signal: AbortSignal): Promise<Descriptor[] | undefined>;
}

/** One of the images in an archive. */
export interface ArchivedImage {
  /** What it is called, all with a tag; empty when the archive does not say. */
  names: ImageReference[];
  source: ImageSource;
}
