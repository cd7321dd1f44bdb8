/** What is written down beside each unpacked layer of the overlay driver. */
import { RuntimeError } from '../core/errors.js';
import type { UnpackReport } from '../core/ports/storage.js';

export interface LayerRecord extends UnpackReport {
  version: 1;
  /** What was found on disk some time after; absent until then. */
  listing?: { bytes: number; inodes: number; fingerprint: string };
}

const VERSION = 1;

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
