/** What VolumeStorage needs of a kind of copy-on-write volumes, and what it writes down beside each. */
import { RuntimeError } from '../core/errors.js';
import type { OwnedFd } from '../core/ports/network.js';

/** `base`, or `layer/<hex>`, `draft/<word>`, `root/<container id>`. */
export type VolumeName = string;

export interface Volume {
  name: VolumeName;
  /** What was written down beside it, '' for nothing. */
  note: string;
  /** What it was cloned from, as far as that is there. */
  origin: VolumeName | null;
}

/** Volumes with a file system each, which are cloned in no time and share what is equal. */
export interface Volumes {
  /** Where they are, for messages. */
  readonly place: string;
  /** All of ours; nobody else's. */
  list(): Promise<Volume[]>;
  /** A new one with an empty file system. */
  make(name: VolumeName): Promise<void>;
  /**
   * A writable copy with its note, whole or not at all. 'already-exists', 'resource-exhausted' when
   * there is next to no space.
   */
  clone(origin: VolumeName, name: VolumeName, note: string): Promise<void>;
  /** From now on it is but cloned from. Nothing of it is mounted. */
  seal(name: VolumeName, note: string): Promise<void>;
  rename(from: VolumeName, to: VolumeName): Promise<void>;
  /** Idempotent. 'failed-precondition' when it is mounted somewhere. */
  remove(name: VolumeName): Promise<void>;
  /** A detached mount. Files have the owners that the user namespace gives them. */
  mount(name: VolumeName, userNamespace?: number): Promise<OwnedFd>;
  /** A detached mount of one that is sealed, which nothing is written to. */
  mountSealed(name: VolumeName, userNamespace?: number): Promise<OwnedFd>;
  /** Bytes that a volume has for itself alone, of all that are cheaply told; others are measured. */
  ownBytes?(): Promise<ReadonlyMap<VolumeName, number>>;
  /** Where their file system can be seen on the host, if anywhere. */
  mountpoint?(): Promise<string | undefined>;
}

/** What a file system has in use (statfs). */
export interface Fill {
  bytes: number;
  inodes: number;
}

export interface LayerNote {
  /** As the unpacker counted it. */
  layer: Fill;
  /** The whole file system: this layer and all below. */
  fill: Fill;
}

const VERSION = 1;

export function formatLayerNote({ layer, fill }: LayerNote): string {
  return `layer:${VERSION}:${layer.bytes}:${layer.inodes}:${fill.bytes}:${fill.inodes}`;
}

/** Of the base and of containers: what the file system had in use at the beginning. */
export function formatFillNote(kind: 'base' | 'root', { bytes, inodes }: Fill): string {
  return `${kind}:${VERSION}:${bytes}:${inodes}`;
}

/** Undefined for what is not such a note. */
export function parseLayerNote(note: string, name: VolumeName): LayerNote | undefined {
  const [bytes, inodes, fillBytes, fillInodes] = figures('layer', note, name, 4) ?? [];
  if (bytes === undefined || inodes === undefined) return undefined;
  if (fillBytes === undefined || fillInodes === undefined) return undefined;
  return { layer: { bytes, inodes }, fill: { bytes: fillBytes, inodes: fillInodes } };
}

export function parseFillNote(
  kind: 'base' | 'root',
  note: string,
  name: VolumeName,
): Fill | undefined {
  const [bytes, inodes] = figures(kind, note, name, 2) ?? [];
  return bytes === undefined || inodes === undefined ? undefined : { bytes, inodes };
}

/** A note of a newer version is an error: what it is about must stay as it is. */
function figures(
  kind: string,
  note: string,
  name: VolumeName,
  count: number,
): number[] | undefined {
  const [word, version, ...rest] = note.split(':');
  if (word !== kind || version === undefined || !/^\d+$/.test(version)) return undefined;
  if (Number(version) > VERSION) {
    throw new RuntimeError(
      'failed-precondition',
      `volume ${name} has version ${version}, written by a newer agent; this one reads version ${VERSION}`,
    );
  }
  if (rest.length !== count || !rest.every((text) => /^\d{1,15}$/.test(text))) return undefined;
  return rest.map(Number);
}
