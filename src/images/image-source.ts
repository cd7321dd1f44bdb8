/** Where the parts of one image come from while it is pulled: a registry, a layout folder, an archive. */
import type { FileHandle } from 'node:fs/promises';
import type { Descriptor } from '../core/oci.js';

/** The manifest or index that a reference names, verified where the reference has a digest. */
export interface RootDocument {
  mediaType: string;
  digest: string;
  bytes: Uint8Array;
  /** `registry/repository:tag`, '' where the image gets no tag. */
  repoTag: string;
  /** `registry/repository@sha256:…` */
  repoDigest: string;
}

/** A compressed layer inside an open file. */
export interface LayerBlob {
  file: FileHandle;
  offset: number;
  length: number;
  /** False when nobody has compared the blob with its digest yet. */
  isVerified: boolean;
  /** Closes the file, and removes it when it is a temporary one. */
  release(): Promise<void>;
}

export interface LayerRequest {
  descriptor: Descriptor;
  /** Folder for a temporary file. */
  temporaryFolder: string;
  signal: AbortSignal;
  onBytes: (doneBytes: number) => void;
}

export interface ImageSource {
  resolve(signal: AbortSignal): Promise<RootDocument>;
  /** A child manifest or config, not yet verified; at most `maxBytes` of it are read. */
  fetchDocument(descriptor: Descriptor, maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
  openLayer(request: LayerRequest): Promise<LayerBlob>;
}
