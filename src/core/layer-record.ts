/** Where unpacked layers lie and what is written down beside each: shared by images and storage. */
import { RuntimeError } from './errors.js';

/**
 * `<images root>/layers/<hex of diff_id>/` holds `fs/`, the layer's files as overlayfs wants them, and
 * `layer.json`, this record. The folder appears by a rename, complete.
 */
export interface LayerRecord {
  version: 1;
  diffId: string;
  bytes: number;
  inodes: number;
  /** The layer hides everything below it: overlayfs cannot be told so on a layer's root folder. */
  rootOpaque: boolean;
  /** What the layer says of the root folder, null where it says nothing. */
  rootOwner: { mode: number; uid: number; gid: number } | null;
}

const VERSION = 1;

export function layerFolder(imagesRoot: string, diffId: string): string {
  return `${imagesRoot}/layers/${hexOf(diffId)}`;
}

export function layerFiles(imagesRoot: string, diffId: string): string {
  return `${layerFolder(imagesRoot, diffId)}/fs`;
}

export function layerRecordFile(imagesRoot: string, diffId: string): string {
  return `${layerFolder(imagesRoot, diffId)}/layer.json`;
}

export function hexOf(digest: string): string {
  return digest.slice('sha256:'.length);
}

/** Reads what we have written ourselves: a check against damage, not against malice. */
export function parseLayerRecord(text: string, path: string): LayerRecord {
  const record = JSON.parse(text) as Omit<LayerRecord, 'version'> & { version: number };
  if (record.version > VERSION) {
    throw new RuntimeError(
      'failed-precondition',
      `${path} has version ${record.version}, written by a newer agent; this one reads version ${VERSION}`,
    );
  }
  if (record.version !== VERSION) throw new RuntimeError('data-loss', `${path} has no version`);
  return { ...record, version: VERSION };
}
