/**
 * What the verbs of runtime/ need from the world. Each port has its real implementation in the
 * adapter named beside it, and a fake in test/fakes for the verbs' unit tests.
 */
import type { Readable, Writable } from 'node:stream';
import type { RuntimeError } from './errors.js';
import type { ImageDetails } from './image-details.js';
import type { CgroupSetting } from './resources.js';
import type { CheckDepth, CheckOptions, ImageCheck } from './image-check.js';
import type { ContainerId, ImageId, SandboxId } from './ids.js';
import type {
  CgroupPlan,
  CgroupWrite,
  ContainerRecord,
  ContainerSpec,
  ExitRecord,
  ImageRecord,
  Pairs,
  PortMapping,
  ProcessSpec,
  SandboxMetadata,
  SandboxRecord,
  TerminalSize,
} from './model.js';
import type { PullUnderWay } from './pull-progress.js';

/** An open file descriptor that the receiver owns and must close. */
export type OwnedFd = number;

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
  writeSandboxFile(id: SandboxId, name: string, content: string): Promise<string>;
  sandboxFile(id: SandboxId, name: string): string;
  /** Names of the files that were written for it. */
  sandboxFiles(id: SandboxId): Promise<string[]>;
  /** Idempotent. */
  removeSandboxFiles(id: SandboxId): Promise<void>;
}

/** network/namespaces: a pod's namespaces, pinned as bind-mounted nsfs files in one folder. */
export interface NamespaceStore {
  /**
   * Makes the listed namespaces and pins each at `<folder of the sandbox>/<kind>`. A new network
   * namespace has its loopback up. Undoes itself on failure.
   */
  pin(id: SandboxId, wanted: NamespaceRequest): Promise<void>;
  /** Path of a pinned namespace. */
  path(id: SandboxId, kind: 'net' | 'ipc' | 'uts' | 'pid'): string;
  /** True when all of `kinds` are pinned (a mounted nsfs, not just a file). */
  isPinned(id: SandboxId, kinds: readonly ('net' | 'ipc' | 'uts' | 'pid')[]): Promise<boolean>;
  /** Idempotent. */
  unpin(id: SandboxId): Promise<void>;
  /** The interfaces of these pods but loopback; a pod without a namespace of its own has no entry. */
  interfaces(ids: readonly SandboxId[]): Promise<ReadonlyMap<SandboxId, InterfaceReading>>;
  /** Sandboxes that have a folder, for cleaning up after a crash. */
  list(): Promise<SandboxId[]>;
}

/** lxc/: the init of a pod whose containers share a PID namespace. It ends with its cgroup. */
export interface PodInit {
  /** Starts it in an existing, empty cgroup and pins its PID namespace. Undoes itself on failure. */
  start(id: SandboxId, cgroup: string, pinPath: string): Promise<void>;
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
  mountImage(image: ImageRecord, subPath: string): Promise<OwnedFd>;
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
  /** OK when it is mounted already. */
  mount(id: SandboxId): Promise<void>;
  path(id: SandboxId): string;
  /** Idempotent. */
  unmount(id: SandboxId): Promise<void>;
  list(): Promise<SandboxId[]>;
}

/** images/: complete images by name, tag, digest or id. */
export interface ImageStore {
  pull(reference: string, auth: RegistryAuth | null, options: PullOptions): Promise<ImageRecord>;
  /** Whoever started them; those that began first come first. */
  pullsUnderWay(): PullUnderWay[];
  /** Gives an image one more name; whichever image had it loses it. */
  tag(reference: string, name: string): Promise<ImageRecord>;
  /** Sends an image to a registry; nothing of it changes here. */
  push(
    reference: string,
    destination: string,
    auth: RegistryAuth | null,
    options: PushOptions,
  ): Promise<PushedImage>;
  /**
   * Images as one tar archive. One that is named by a tag keeps that tag in it, one that is named by
   * anything else all of its tags.
   */
  save(
    references: readonly string[],
    format: ArchiveFormat,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>;
  /** The images of an archive, compressed or not. What was loaded before one that fails stays. */
  load(archive: AsyncIterable<Uint8Array>, options: LoadOptions): Promise<LoadedImage[]>;
  details(id: ImageId): Promise<ImageDetails>;
  /** By id, unique id prefix of at least 8 digits, tag or digest reference; undefined when absent. */
  find(reference: string): ImageRecord | undefined;
  list(): ImageRecord[];
  /** As RootfsStorage.mountImage, of an artifact. */
  mountArtifact(id: ImageId, subPath: string): Promise<OwnedFd>;
  /**
   * Removes the image with all its tags and digests, and every layer no other image needs. Answers the
   * bytes that came back; 0 for an image that is not there.
   */
  remove(id: ImageId): Promise<number>;
  /**
   * Removes what no image needs, now and after each removal; before the first call nothing but records
   * is removed. What images in `inUse` have unpacked stays, whether they are listed or not.
   */
  startCollecting(inUse: () => ReadonlySet<ImageId>): Promise<void>;
  /** Finds damage, mends what can be mended without a registry, and quarantines single images. */
  check(options: CheckOptions): Promise<ImageCheck>;
  /** What check is to be made after this start; null for none. */
  dueCheck(): CheckDepth | null;
  /** Images that are not used, with the reason. */
  unreadable(): UnreadableFile[];
  usage(): Promise<{
    mountpoint: string;
    usedBytes: number;
    inodesUsed: number;
    timestamp: bigint;
  }>;
}

export interface RegistryAuth {
  username: string;
  password: string;
  /** base64 of `username:password`, when the two are empty. */
  auth: string;
  serverAddress: string;
  identityToken: string;
  registryToken: string;
}

export interface PushOptions {
  signal: AbortSignal;
  onProgress: (blob: BlobPush) => void;
}

/** How far one blob of a push is. 'mounted': another repository of the registry had it. */
export interface BlobPush {
  digest: string;
  size: number;
  /** May go back, when an upload must begin again. */
  sentBytes: number;
  state: 'waiting' | 'uploading' | 'done' | 'present' | 'mounted';
}

export interface PushedImage {
  /** Of the manifest that has the name in the registry now. */
  digest: string;
  sentBytes: number;
}

export type ArchiveFormat = 'oci-archive' | 'docker-archive';

export interface LoadOptions {
  /** What an image without a name is called after: the archive's file, '' for none. */
  name: string;
  signal: AbortSignal;
  /** Called before each image is unpacked. */
  onStart?: (load: PullUnderWay) => void;
}

export interface LoadedImage {
  id: ImageId;
  /** Full references with a tag; empty for an image that the archive has no name for. */
  names: string[];
}

export interface PullOptions {
  /**
   * Root asks, and may read any file of this node. Others name images in pods: of files they get what
   * `images.local_sources` lists.
   */
  anyFile?: boolean;
  signal?: AbortSignal;
  /** Called once, before anything is fetched, also for a caller that joins a pull under way. */
  onStart?: (pull: PullUnderWay) => void;
}

/** images/signature: whether images are signed as a policy demands. */
export interface ImageVerifier {
  /**
   * Of an image, here or not; throws 'signature-invalid' when it is not accepted. Of one that is named
   * by its id, what it was pulled as is checked.
   */
  verify(
    reference: string,
    auth: RegistryAuth | null,
    options: { check: SignatureCheck; signal: AbortSignal },
  ): Promise<VerifiedImage>;
}

/** What an image is checked against: the host's policy, or what a person asks for in place of it. */
export type SignatureCheck =
  | { kind: 'host' }
  /** The text of a policy file or of a public key; `name` is for messages. */
  | { kind: 'policy' | 'key'; name: string; content: Uint8Array };

/** A signature that met a requirement. */
export interface Verification {
  /** File of the public key, or its place in the policy. */
  key: string;
  fingerprint: string;
  /** What was signed: an index or a manifest. */
  digest: string;
  /** The name it was signed under; '' for a signature of a digest alone. */
  identity: string;
}

export interface VerifiedImage {
  /** `registry/repository@sha256:…` of what the reference leads to now. */
  repoDigest: string;
  /** Of the image on this host with that content; undefined when it was not pulled. */
  id: ImageId | undefined;
  /** The place in the policy that counted. */
  where: string;
  /** Empty when it accepts anything. */
  verifications: Verification[];
}

/** lxc/: containers, each behind a shim that outlives the agent. */
export interface ContainerEngine {
  /**
   * Spawns the shim and waits until the held init has set up and stands at the gate. The engine
   * closes `rootfs` and the descriptors of the mounts. On failure nothing is left: no process, no leaf cgroup, no socket.
   */
  create(spec: ContainerSpec, rootfs: OwnedFd): Promise<void>;
  /** Opens the gate. Resolves when execve succeeded; a payload that cannot run is an error. */
  start(id: ContainerId, runDirectory: string): Promise<{ startedAt: bigint; pid: number }>;
  /** Sends a signal to the container's init; OK when it is gone already. */
  signal(id: ContainerId, runDirectory: string, signal: number): Promise<void>;
  reopenLog(id: ContainerId, runDirectory: string): Promise<void>;
  /** What the shim or its records say; never guesses. */
  inspect(id: ContainerId, directory: string, runDirectory: string): Promise<EngineState>;
  /**
   * Resolves once the shim has ended and its exit record can be read. May be called any time after
   * create, also in a later life of the agent, also after the end.
   */
  waitForExit(id: ContainerId, directory: string, runDirectory: string): Promise<ExitRecord>;
  /** Runs a command in a running container. */
  exec(request: ExecRequest): Promise<ExecResult>;
  /** The same with streams. Resolves once the command runs; one that cannot run is an error. */
  execStream(request: ExecStreamRequest): Promise<ExecSession>;
  /** Joins a running container's own process: its output from now on, and its stdin. */
  attach(request: AttachRequest): Promise<AttachSession>;
}

export type EngineState =
  | { state: 'created'; pid: number }
  | { state: 'running'; pid: number; startedAt: bigint }
  | { state: 'exited'; exit: ExitRecord }
  /** Neither a live shim nor an exit record: the shim was killed or the host rebooted. */
  | { state: 'lost'; startedAt: bigint };

export interface ExecRequest {
  id: ContainerId;
  runDirectory: string;
  /** The container's outer cgroup; the helper enters a child of its own below it. */
  cgroup: string;
  process: ProcessSpec;
  /** 0 for no limit. At the end of it the command's whole tree is killed, the container is not. */
  timeoutMs: number;
  /** Each of stdout and stderr is cut here; what comes after is read and thrown away. */
  maxOutputBytes: number;
  signal?: AbortSignal;
}

export interface ExecStreamRequest {
  id: ContainerId;
  runDirectory: string;
  cgroup: string;
  /** `tty` gives it a terminal of its own. */
  process: ProcessSpec;
  stdin: boolean;
  /** Of the terminal at its start. */
  size: TerminalSize | null;
  /** As in ExecRequest. */
  timeoutMs: number;
}

/**
 * What both kinds of stream have in common. Who does not read stops the writer in the end, nothing
 * is held beyond a few buffers. Every stream must be read to its end or destroyed; to destroy an
 * output stream means that the rest of it is thrown away.
 */
interface ProcessStreams {
  /** null when none was asked for. What nobody can read any more is accepted and dropped. */
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  /** null for a terminal, which has one output. */
  readonly stderr: Readable | null;
  /** Sets the terminal's size; without a terminal nothing. */
  resize(size: TerminalSize): void;
}

export interface ExecSession extends ProcessStreams {
  /**
   * The exit code (128 + signal), after the last byte of output was read. Rejects with
   * 'deadline-exceeded' at the time limit, with 'cancelled' after kill().
   */
  readonly exited: Promise<number>;
  /** Ends the command and all it has started. */
  kill(): void;
  /** The client is gone: stdin ends, output is thrown away, the command goes on. */
  detach(): void;
}

export interface AttachRequest {
  id: ContainerId;
  runDirectory: string;
  /** Whether the container has a terminal. */
  tty: boolean;
  stdin: boolean;
}

export interface AttachSession extends ProcessStreams {
  /**
   * After the last byte of output was read. 'dropped': the client was too slow for the container, or
   * the shim was killed.
   */
  readonly ended: Promise<'exited' | 'dropped' | 'detached'>;
  /** Leaves. The end of stdin alone does not. */
  detach(): void;
}

export interface ExecResult {
  exitCode: number;
  stdout: Uint8Array;
  stderr: Uint8Array;
}

/** cgroup/: the part of the cgroup v2 hierarchy that pods live in. */
export interface CgroupTree {
  /** Controllers a pod's cgroup can use here; empty on a hybrid host. */
  readonly controllers: ReadonlySet<string>;
  /**
   * Makes a folder and its parents, with all usable controllers enabled down to its parent, and
   * configures it. What is a unit of systemd by its path is made by systemd.
   */
  make(path: string, settings?: readonly CgroupSetting[]): Promise<void>;
  /** Writes files of a folder in order; what the kernel refuses is told with file and value. */
  configure(path: string, settings: readonly CgroupSetting[]): Promise<void>;
  /**
   * How to change files that have values: what is raised before what is lowered, and how to go back.
   * Writes nothing. A memory limit below what is in use after reclaim is refused.
   */
  plan(changes: readonly CgroupChange[]): Promise<CgroupPlan>;
  /** Writes in order up to the first refusal. */
  write(writes: readonly CgroupWrite[]): Promise<void>;
  /** Kills every process below and waits until it is empty. OK when it is not there. */
  kill(path: string): Promise<void>;
  /** Removes what was made, with everything below; kills nothing. OK when it is not there. */
  remove(path: string): Promise<void>;
  /** Processes are about to be moved between cgroups: makes that quick, and resolves when it is. */
  expectMoves(): Promise<void>;
  /** Folders directly below, [] when it is not there. */
  children(path: string): Promise<string[]>;
  /** Makes a cgroup known to `stats` under a name. Counting the processes below costs a walk. */
  watch(name: string, path: string, options?: { countProcesses: boolean }): void;
  unwatch(name: string): void;
  /** The figures of these; what is not watched or removed is left out, maybe others are there. */
  stats(names: Iterable<string>): Promise<ReadonlyMap<string, CgroupStats>>;
}

export interface CgroupChange extends CgroupWrite {
  /** Passed over where the file is not there. */
  optional?: boolean;
}

export interface CgroupStats {
  /** When this cgroup was read, nanoseconds since the epoch. */
  timestamp: bigint;
  cpuUsageMicros?: number;
  memoryBytes?: number;
  inactiveFileBytes?: number;
  anonBytes?: number;
  pageFaults?: number;
  majorPageFaults?: number;
  swapBytes?: number;
  /** undefined for no limit. */
  memoryLimitBytes?: number;
  swapLimitBytes?: number;
  /** Of the cgroup and all below it, where they are counted. */
  processes?: number;
  cpuPressure?: Pressures;
  memoryPressure?: Pressures;
  ioPressure?: Pressures;
}

/** Time in which some, or all, processes waited for a resource (Documentation/accounting/psi.rst). */
export interface Pressures {
  some: Pressure;
  full: Pressure;
}

export interface Pressure {
  /** Percent of the last 10 s, minute and 5 minutes. */
  avg10: number;
  avg60: number;
  avg300: number;
  /** Microseconds in all. */
  total: number;
}
