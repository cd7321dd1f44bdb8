/** What a check of the image store looks at, and what it found. */
import type { ImageId } from './ids.js';

/**
 * 'known': what has been found already is mended. 'listing': blobs are hashed, and the files of layers
 * compared by names, types, owners, modes, sizes and times. 'content': layers are unpacked anew and
 * compared byte by byte.
 */
export type CheckDepth = 'known' | 'listing' | 'content';

export interface CheckOptions {
  depth: CheckDepth;
  /** Takes half of a core at most, so that it can go on beside everything else. */
  gentle?: boolean;
  /** Looks at these alone, and what they share with others; at all images without it. */
  images?: ReadonlySet<ImageId>;
  /** Ends the check at once. What is known to be damaged by then stays so, over a restart too. */
  signal?: AbortSignal;
  /** Ends the looking, as a failure with its reason; what was found by then is mended before. */
  enough?: AbortSignal;
  /** Told of each as it comes. */
  onFinding?: (finding: ImageFinding) => void;
}

export interface ImageCheck {
  depth: CheckDepth;
  /** How many were looked at. */
  images: number;
  blobs: number;
  layers: number;
  findings: ImageFinding[];
}

export interface ImageFinding {
  /** A damaged blob is removed, a damaged layer made anew from its blob. */
  what: 'blob' | 'layer' | 'image';
  /** Digest of the blob, key of the layer, id of the image. */
  digest: string;
  reason: string;
  /**
   * 'mended': as it should be again. 'incomplete': its images run, but cannot be saved, pushed or
   * mended until they are pulled again. 'quarantined': the image is not listed until it is pulled again.
   */
  outcome: 'mended' | 'incomplete' | 'quarantined';
  images: { id: ImageId; names: string[] }[];
}
