/** What a pull under way tells about itself, and what is told of one that has ended. */
import type { ImageId } from './ids.js';

/** 'present': it was there before this pull. */
export type LayerState = 'waiting' | 'downloading' | 'unpacking' | 'done' | 'present';

export interface LayerProgress {
  /** Of the blob. */
  digest: string;
  /** Bytes of the blob. */
  size: number;
  downloadedBytes: number;
  /** Those of them that this pull has brought itself: another one may, or the blob was kept. */
  fetchedBytes: number;
  /** Bytes of the blob that are unpacked. */
  unpackedBytes: number;
  state: LayerState;
}

export interface PullSnapshot {
  /** As the first caller wrote it. */
  reference: string;
  /** Nanoseconds since the epoch. */
  startedAt: bigint;
  /** Empty until the manifest and the config are here. */
  layers: LayerProgress[];
}

/** A pull that can be looked at whenever one likes: it neither knows nor waits for who does. */
export interface PullUnderWay {
  snapshot(): PullSnapshot;
  /** Rises with every change. */
  readonly version: number;
}

export interface PullReport {
  reference: string;
  durationMs: number;
  /** Of layers, over the network or from the host's own files. */
  fetchedBytes: number;
  layersFetched: number;
  layersPresent: number;
  outcome: { imageId: ImageId } | { error: unknown };
}
