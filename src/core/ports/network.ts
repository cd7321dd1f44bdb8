/** A pod's namespaces and networks (lxc/, network/). A port has its real implementation in the adapter named, and a fake in test/fakes. */
import type { Duplex } from 'node:stream';
import type { SandboxId } from '../ids.js';
import type { Pairs, PortMapping, SandboxMetadata, UserNamespace } from '../model.js';
import type { UnreadableFile } from './state.js';

/** An open file descriptor that the receiver owns and must close. */
export type OwnedFd = number;

/** network/namespaces: a pod's namespaces, pinned as bind-mounted nsfs files in one folder. */
export interface NamespaceStore {
  /**
   * Makes the listed namespaces and pins each at `<folder of the sandbox>/<kind>`. A new network
   * namespace has its loopback up. Undoes itself on failure.
   */
  pin(id: SandboxId, wanted: NamespaceRequest): Promise<void>;
  /** Path of a pinned namespace. */
  path(id: SandboxId, kind: 'net' | 'ipc' | 'uts' | 'pid' | 'user'): string;
  /** True when all of `kinds` are pinned (a mounted nsfs, not just a file). */
  isPinned(
    id: SandboxId,
    kinds: readonly ('net' | 'ipc' | 'uts' | 'pid' | 'user')[],
  ): Promise<boolean>;
  /** Idempotent. */
  unpin(id: SandboxId): Promise<void>;
  /** The interfaces of these pods but loopback; a pod without a namespace of its own has no entry. */
  interfaces(ids: readonly SandboxId[]): Promise<ReadonlyMap<SandboxId, InterfaceReading>>;
  /**
   * A TCP connection to the pod's own loopback, 127.0.0.1 or else ::1; null stands for the host's
   * network. It keeps the namespace: whoever has it destroys it when the pod stops.
   */
  connect(id: SandboxId | null, port: number): Promise<Duplex>;
  /** Sandboxes that have a folder, for cleaning up after a crash. */
  list(): Promise<SandboxId[]>;
}

/** lxc/: the init of a pod whose containers share a PID namespace. It ends with its cgroup. */
export interface PodInit {
  /** Starts it in an existing, empty cgroup and pins its PID namespace. Undoes itself on failure. */
  start(
    id: SandboxId,
    cgroup: string,
    pinPath: string,
    /** Path of a pinned one that the PID namespace shall belong to. */
    userNamespace: string | null,
  ): Promise<void>;
  isAlive(cgroup: string): Promise<boolean>;
  /** Resolves when it has ended; at once when it is not there. Also in a later life of the agent. */
  ended(cgroup: string): Promise<void>;
}

export interface InterfaceReading {
  timestamp: bigint;
  interfaces: InterfaceUsage[];
}

/** Counters since the interface was made, as the pod sees them. */
export interface InterfaceUsage {
  name: string;
  rxBytes: number;
  rxErrors: number;
  txBytes: number;
  txErrors: number;
}

export interface NamespaceRequest {
  kinds: readonly ('net' | 'ipc' | 'uts')[];
  /** Set in the new UTS namespace; ignored without 'uts'. */
  hostname: string;
  /** `net.*`, `kernel.*`, `fs.mqueue.*` of the new namespaces. */
  sysctls: Pairs;
  /** One of its own, which the others belong to. */
  userNamespace: UserNamespace | null;
}

/** network/: pod networks by the host's CNI conflists. */
export interface PodNetwork {
  /** For Status' NetworkReady condition; reads what is in memory or cheap. */
  status(): Promise<{ ready: boolean; reason: string; message: string }>;
  /** ADD through the default conflist. Remembers itself on disk before the first plugin runs. */
  attach(request: NetworkRequest): Promise<{ ips: string[] }>;
  /** DEL with the configuration and result that ADD cached. Idempotent; OK without a namespace. */
  detach(id: SandboxId): Promise<void>;
  /** Sandboxes that have a cached attachment, for cleaning up after a crash. */
  list(): Promise<{ ids: SandboxId[]; unreadable: UnreadableFile[] }>;
}

export interface NetworkRequest {
  id: SandboxId;
  netnsPath: string;
  metadata: SandboxMetadata;
  portMappings: readonly PortMapping[];
}
