/** All that is known of an image beside its record: from its manifest and config, as they came. */
export interface ImageDetails {
  /** Of the manifest that the image can be handed on with; '' where none is kept. */
  manifestDigest: string;
  mediaType: string;
  platform: string;
  layers: LayerDetails[];
  /** The config, unchanged: `history`, `created` and what else its builder wrote. */
  imageSpec: unknown;
}

export interface LayerDetails {
  diffId: string;
  /** Of the blob; '' and 0 where the manifest is not kept. */
  digest: string;
  size: number;
  mediaType: string;
  /** What the unpacked layer takes on the disk. */
  unpackedBytes: number;
}
