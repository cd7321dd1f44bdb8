/** What every verb works with: the ports, the objects, and one lock per object. */
import type { CgroupLayouts } from '../core/cgroup-layout.js';
import type { CdiEdits } from '../core/cdi.js';
import type { HostDevice } from '../core/devices.js';
import type { Hook } from '../core/model.js';
import type { Logger } from '../core/logger.js';
import type { CgroupTree } from '../core/ports/cgroup.js';
import type { ContainerEngine } from '../core/ports/engine.js';
import type { ImageStore, ImageVerifier } from '../core/ports/images.js';
import type { NamespaceStore, OwnedFd, PodInit, PodNetwork } from '../core/ports/network.js';
import type { ObjectFolders, StateStore } from '../core/ports/state.js';
import type { RootfsStorage, SharedMemory } from '../core/ports/storage.js';
import type { SeccompProfile } from '../core/seccomp-rules.js';
import type { KeyedMutex } from '../util/keyed-mutex.js';
import type { UndoFailure } from '../util/undo.js';
import type { Objects } from './objects.js';
import type { Plugins } from './plugins.js';

export interface RuntimeContext {
  store: StateStore;
  folders: ObjectFolders;
  namespaces: NamespaceStore;
  podInit: PodInit;
  network: PodNetwork;
  rootfs: RootfsStorage;
  sharedMemory: SharedMemory;
  images: ImageStore;
  imageVerifier: ImageVerifier;
  engine: ContainerEngine;
  cgroups: CgroupTree;
  layouts: CgroupLayouts;
  log: Logger;
  host: HostFacts;
  /** null where the configuration asks for none. */
  plugins: Plugins | null;

  objects: Objects;
  /** Held by id for every mutating verb; a verb on a container holds the container's alone. */
  locks: KeyedMutex;
  /** Calls under way by name of the object they make, for adopting repeats. */
  pending: Map<string, { digest: string; result: Promise<string> }>;
}

/** Facts and kernel services that are neither a port with a fake nor an object. */
export interface HostFacts {
  bootId: string;
  /** Nanoseconds since the epoch. */
  now(): bigint;
  newId(): string;
  /** Release of the running kernel. */
  kernel: string;
  compileSeccomp(profile: SeccompProfile): Uint8Array;
  /** A regular file of the host; `what` names it in errors. */
  readHostFile(what: string, path: string, maxBytes: number): Promise<Uint8Array>;
  appArmor: AppArmor;
  /** A regular file below the mount, symlinks resolved inside it; null when absent. */
  readFileBelow(root: OwnedFd, path: string, maxBytes: number): Uint8Array | null;
  /** Whether pods can have user namespaces of their own here. */
  readonly userNamespaces: boolean;
  openNamespace(path: string): OwnedFd;
  closeFd(fd: OwnedFd): void;
  /** The node's own name. */
  hostname(): string;
  /** A text file of the host; null when absent. */
  readTextFile(path: string): Promise<string | null>;
  /** A device of the host, or all in a folder; throws for what is neither. */
  findDevices(path: string): Promise<HostDevice[]>;
  /** What CDI devices bring, by name. */
  findCdiDevices(names: readonly string[]): Promise<CdiEdits>;
  /** Throws when there is nothing at that path. */
  requireExisting(what: string, path: string): Promise<void>;
  /** Makes a missing folder on the host that a mount wants as its source; answers how to undo that. */
  ensureMountSource(path: string): Promise<() => Promise<void>>;
  /** Runs a program with that on its stdin; rejects unless it ends with 0. */
  runHook(hook: Hook, input: string): Promise<void>;
  /** Throws when the folder that should hold a log file is not there. */
  requireFolder(what: string, path: string): Promise<void>;
}

/** The host's AppArmor. */
export interface AppArmor {
  /** Whether the kernel has it switched on. */
  readonly enabled: boolean;
  isLoaded(profile: string): Promise<boolean>;
  /** Loads the default profile where it is not loaded; rejects where it cannot be. */
  loadDefault(): Promise<void>;
}

/** Reports what could not be undone after a failure; the caller gets the failure itself. */
export function reportUndo(context: RuntimeContext, id: string): (failure: UndoFailure) => void {
  return ({ what, error }) => {
    context.log.error({ id, err: error }, `cannot undo: ${what}; its removal tries again`);
  };
}
