/** Where the records of sandboxes and containers are kept (store/). A port has its real implementation in the adapter named, and a fake in test/fakes. */
import type { ContainerId, SandboxId } from '../ids.js';
import type { ContainerRecord, SandboxRecord } from '../model.js';

/** store/: records on disk, one file per object, atomic and fsynced. */
export interface StateStore {
  saveSandbox(record: SandboxRecord): Promise<void>;
  removeSandbox(id: SandboxId): Promise<void>;
  saveContainer(record: ContainerRecord): Promise<void>;
  removeContainer(id: ContainerId): Promise<void>;
  /** Everything readable; a file of an unknown newer version is reported and left as it is. */
  load(): Promise<LoadedState>;
}

export interface LoadedState {
  sandboxes: SandboxRecord[];
  containers: ContainerRecord[];
  unreadable: UnreadableFile[];
}

/** A state file that this version of the agent cannot read; it is left as it is. */
export interface UnreadableFile {
  path: string;
  reason: string;
}

/** store/: the folders of objects: persistent ones below `root`, volatile ones below `state`. */
export interface ObjectFolders {
  /** `<root>/containers/<id>`: record, `started`, `exit`. */
  containerDirectory(id: ContainerId): string;
  /** `<state>/containers/<id>`: what a shim needs while it runs. */
  containerRunDirectory(id: ContainerId): string;
  makeContainer(id: ContainerId): Promise<void>;
  /** A file in the persistent folder, for as long as the host is not restarted: not synced. */
  writeContainerFile(id: ContainerId, name: string, content: Uint8Array): Promise<void>;
  readContainerFile(id: ContainerId, name: string): Promise<Uint8Array>;
  /** Removes the volatile folder; the persistent one goes with the record. */
  removeContainerRun(id: ContainerId): Promise<void>;
  /** Writes `<state>/sandboxes/<id>/<name>` (mode 0644) and returns its path. */
  writeSandboxFile(
    id: SandboxId,
    name: string,
    content: string,
    owner?: { uid: number; gid: number },
  ): Promise<string>;
  sandboxFile(id: SandboxId, name: string): string;
  /** Names of the files that were written for it. */
  sandboxFiles(id: SandboxId): Promise<string[]>;
  /** Idempotent. */
  removeSandboxFiles(id: SandboxId): Promise<void>;
}
