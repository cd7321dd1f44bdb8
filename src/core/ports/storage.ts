/** Layers of images and root filesystems of containers (storage/). A port has its real implementation in the adapter named, and a fake in test/fakes. */
import type { RuntimeError } from '../errors.js';
import type { ContainerId, SandboxId } from '../ids.js';
import type { ImageRecord } from '../model.js';
import type { OwnedFd } from './network.js';

/** storage/: one driver keeps both, layers and the root filesystems that are made of them. */
export interface StorageDriver extends LayerStorage, RootfsStorage {}

/** storage/: unpacked layers, each whole or not there at all. */
export interface LayerStorage {
  /**
   * What a layer's key is: 'diff', the diff_id of its own content, so that layers don't know each
   * other; 'chain', the chain id of its content and all below it, for drivers where a layer is its
   * parent with changes (core/layer-key.ts).
   */
  readonly keyedBy: LayerKeyKind;
  /** Every whole layer. Undoes what an earlier agent has begun; nothing that may be in use is removed. */
  loadLayers(): Promise<LoadedLayers>;
  /** A place to unpack a layer into, unseen until it is committed. The parent must be there. */
  draftLayer(key: LayerKey): Promise<LayerDraft>;
  /** Gone at once for everybody who asks; idempotent. No child of it and no container may be left. */
  removeLayer(key: string): Promise<void>;
  /** Absent where nobody but the layers' own file system can find damage. */
  readonly upkeep?: LayerUpkeep;
}

/** How damage to unpacked layers is found, and mended under the feet of what runs. */
export interface LayerUpkeep {
  /** What a layer takes on disk, exactly; remembers what is in it, for `check`. */
  measure(key: string): Promise<StoredLayer>;
  /** Compares names, types, owners, modes, sizes and times with what `measure` saw. */
  check(key: string): Promise<LayerCondition>;
  /** Whether a layer has what was unpacked into a draft, content included. */
  isSame(key: string, draft: LayerDraft): Promise<boolean>;
  /** The next start counts it among the damaged; until it is retired or removed, nothing else changes. */
  condemn(key: string): Promise<void>;
  /** Out of the way, so that it can be made anew. What runs on it goes on. OK when it is not there. */
  retire(key: string): Promise<void>;
  /** Removes the retired ones but those of these keys. */
  purge(used: ReadonlySet<string>): Promise<void>;
}

export type LayerCondition =
  | { state: 'sound' }
  /** Nobody has measured it. */
  | { state: 'unmeasured' }
  | { state: 'damaged'; reason: string };

export type LayerKeyKind = 'diff' | 'chain';

/** A layer and its place in an image, by the driver's kind of key. */
export interface LayerKey {
  key: string;
  diffId: string;
  /** Key of the layer below; null for the lowest one and where layers don't know each other. */
  parent: string | null;
}

export interface LoadedLayers {
  /** Where they know each other, parents before their children. */
  layers: StoredLayer[];
  /** By key: layers of a newer agent, which must stay but cannot be used. */
  newer: Map<string, RuntimeError>;
  /** By key, with the reason: they stay for what runs on them until they are retired or removed. */
  damaged?: Map<string, string>;
}

export interface StoredLayer {
  key: string;
  /** What it takes on disk. */
  bytes: number;
  inodes: number;
  /** False for an estimate, until somebody has `LayerUpkeep.measure` look. */
  isMeasured?: boolean;
}

export interface LayerDraft {
  /** Descriptor of the folder to unpack into; closed by commit and discard. */
  readonly targetFd: number;
  /**
   * 'overlay': an empty folder, to be filled as overlayfs wants a lower one. 'apply': the parent's
   * files, to be changed as the layer says.
   */
  readonly mode: UnpackMode;
  /**
   * Makes the layer visible, durable and whole. What was unpacked is on disk already (syncfs). Where
   * another draft of the layer has come first, that one stays and this one is dropped.
   */
  commit(unpacked: UnpackReport): Promise<StoredLayer>;
  /** Takes everything back. Idempotent, OK after a failed commit. */
  discard(): Promise<void>;
}

export type UnpackMode = 'overlay' | 'apply';

/** What the unpack helper says of a layer. */
export interface UnpackReport {
  /** Digest of the content. */
  diffId: string;
  bytes: number;
  inodes: number;
  /** The layer hides everything below it: overlayfs cannot be told so on a layer's root folder. */
  rootOpaque: boolean;
  /** What the layer says of the root folder, null where it says nothing. */
  rootOwner: { mode: number; uid: number; gid: number } | null;
}

/** storage/: a writable root filesystem over image layers. */
export interface RootfsStorage {
  /** Makes the container's writable layer. Undoes itself on failure. */
  prepare(id: ContainerId, image: ImageRecord, options?: RootfsOptions): Promise<void>;
  /**
   * A detached mount of the merged root: openat2 works on it, and the shim attaches it. The options
   * are those of `prepare`.
   */
  mount(id: ContainerId, image: ImageRecord, options?: RootfsOptions): Promise<OwnedFd>;
  /**
   * A detached read-only mount of an image's content, nosuid and nodev, or of the folder `subPath` in it
   * unless that is ''. Symbolic links on the way lead nowhere outside.
   */
  mountImage(image: ImageRecord, subPath: string, options?: RootfsOptions): Promise<OwnedFd>;
  /** Bytes and inodes of the writable layer; may be some seconds old. */
  usage(id: ContainerId): Promise<{ usedBytes: number; inodesUsed: number; timestamp: bigint }>;
  /** Idempotent. */
  remove(id: ContainerId): Promise<void>;
  list(): Promise<ContainerId[]>;
  /** Mount point of the filesystem that holds the layers, for FilesystemIdentifier. */
  mountpoint(): string;
}

export interface RootfsOptions {
  /**
   * Descriptor of a user namespace: what id 0 owns in the image belongs to the namespace's root. It
   * stays the caller's, who keeps it open until the call has settled.
   */
  userNamespace?: number;
}

/** storage/: a pod's /dev/shm, which all its containers share. */
export interface SharedMemory {
  /** Of root, or of the host's ids that stand for it. OK when it is mounted already. */
  mount(id: SandboxId, owner?: { uid: number; gid: number }): Promise<void>;
  path(id: SandboxId): string;
  /** Idempotent. */
  unmount(id: SandboxId): Promise<void>;
  list(): Promise<SandboxId[]>;
}
