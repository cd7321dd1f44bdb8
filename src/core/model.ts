/**
 * The objects of the runtime as they are stored and passed between layers.
 *
 * Maps are arrays of pairs: order and bytes of labels and annotations must come back exactly, and a
 * key such as `__proto__` must be harmless. Times are nanoseconds since the epoch as decimal strings,
 * because JSON has no 64-bit integer.
 */
import type { ContainerId, ImageId, SandboxId } from './ids.js';

export type Pairs = [key: string, value: string][];

export type NamespaceMode = 'pod' | 'container' | 'node' | 'target';

export interface NamespaceModes {
  network: 'pod' | 'node';
  pid: NamespaceMode;
  ipc: 'pod' | 'node';
  /** Container id whose PID namespace is joined when pid is 'target'. */
  targetId: string;
}

/** A run of ids: `containerId` is `hostId` on the host, and so on. */
export interface IdRange {
  containerId: number;
  hostId: number;
  length: number;
}

/** The ids of a pod that has a user namespace of its own, which its containers share. */
export interface UserNamespace {
  uids: IdRange;
  gids: IdRange;
}

export interface SandboxMetadata {
  name: string;
  uid: string;
  namespace: string;
  attempt: number;
}

export interface ContainerMetadata {
  name: string;
  attempt: number;
}

export interface DnsConfig {
  servers: string[];
  searches: string[];
  options: string[];
}

export interface PortMapping {
  protocol: 'tcp' | 'udp' | 'sctp';
  containerPort: number;
  hostPort: number;
  hostIp: string;
}

/**
 * A pod sandbox. `phase` is 'creating' from before the first side effect until everything stands, so
 * that a start of the agent can undo a half-made one; 'stopping' from before the first step of a stop.
 * Readiness is not stored: it is 'ready' here, pinned namespaces on the host, and the same boot.
 */
export interface SandboxRecord {
  version: 1;
  id: SandboxId;
  phase: 'creating' | 'ready' | 'stopping' | 'stopped';
  createdAt: string;
  /** /proc/sys/kernel/random/boot_id at creation. */
  bootId: string;
  metadata: SandboxMetadata;
  hostname: string;
  logDirectory: string;
  dns: DnsConfig | null;
  portMappings: PortMapping[];
  labels: Pairs;
  annotations: Pairs;
  /** cgroup of the pod, absolute from the cgroup v2 root, e.g. `/kubepods/burstable/pod123`. */
  cgroup: string;
  /** True when the agent made the pod's cgroup and must remove it; the kubelet's are the kubelet's. */
  ownsCgroup: boolean;
  namespaces: NamespaceModes;
  /** null for the host's. */
  userNamespace: UserNamespace | null;
  sysctls: Pairs;
  privileged: boolean;
  runtimeHandler: string;
  /** Addresses, first is the primary one; empty for the host's network. */
  ips: string[];
  /** What the pod itself needs, and the sum of its containers; null when not told. */
  overhead: Resources | null;
  resources: Resources | null;
  /** Set while the limits of the pod's own cgroup are being changed. */
  resize: Resize | null;
  /** SHA-256 of the request: a repeated call is adopted only when it asks for the same. */
  requestDigest: string;
}

export interface BindMount {
  source: string;
  target: string;
  readonly: boolean;
  recursiveReadonly: boolean;
  propagation: 'private' | 'slave' | 'shared';
  /** What the kernel shall not honour in it; none when absent. */
  restrictions?: MountRestriction[];
  /** Owners on disk are ids of the pod's user namespace. */
  idmapped?: boolean;
}

export type MountRestriction = 'nosuid' | 'nodev' | 'noexec';

/** What is mounted is a path of the host, or a mount that is attached nowhere yet. */
export interface SpecMount extends BindMount {
  /** Its descriptor: it counts in place of `source`, and has its flags already. */
  mounted?: number;
}

/** A seccomp or AppArmor profile: the path of a file of the one, the name of a loaded one of the other. */
export type SecurityProfile = 'runtime-default' | 'unconfined' | `localhost/${string}`;

/** A node made in the container, and what the container's device program lets through to it. */
export interface DeviceNode {
  path: string;
  type: 'block' | 'character';
  major: number;
  minor: number;
  /** Permission bits of the node. */
  mode: number;
  uid: number;
  gid: number;
  /** Bits as the kernel's device programs count them: 1 mknod, 2 read, 4 write. */
  access: number;
  /** Gives way to what lies at its path. */
  optional: boolean;
}

/** What the held init and the exec helper do to become the payload's process. */
export interface ProcessSpec {
  argv: string[];
  /** `KEY=value`, any byte but NUL; what is not UTF-8 as byte-text.ts has it. */
  env: string[];
  cwd: string;
  uid: number;
  gid: number;
  supplementalGroups: number[];
  /** Linux capability numbers: bounding, permitted and effective set. */
  capabilities: number[];
  /** Those that survive the execve of an ordinary program by a user other than root; inheritable too. */
  ambientCapabilities: number[];
  noNewPrivileges: boolean;
  /** Compiled BPF program (struct sock_filter[]), or null for unconfined. */
  seccomp: Uint8Array | null;
  /** SECCOMP_FILTER_FLAG_* it is loaded with. */
  seccompFlags: number;
  /** AppArmor profile name to exec under, or null to keep the helper's label. */
  apparmorProfile: string | null;
  /** null keeps what the agent has. */
  oomScoreAdj: number | null;
  /** Those that are not the agent's. */
  rlimits: Rlimit[];
  tty: boolean;
}

/** Window size of a terminal, in characters; each below 65536. */
export interface TerminalSize {
  rows: number;
  columns: number;
}

/** Everything the shim needs to build one container. Paths are absolute paths on the host. */
export interface ContainerSpec {
  id: ContainerId;
  /** Persistent folder, exists: the shim writes `started` and `exit` here. */
  directory: string;
  /** Volatile folder, exists: control socket `shim.sock`, generated `config`, `shim.log`. */
  runDirectory: string;
  cgroup: ContainerCgroup;
  /** nsfs path to join, 'host' to stay in the host's, 'new' for one of the container's own. */
  namespaces: { network: string; ipc: string; uts: string; pid: string };
  /** nsfs path of the one that the others belong to; null for the host's. */
  userNamespace: { path: string; map: UserNamespace } | null;
  readonlyRootfs: boolean;
  privileged: boolean;
  devices: DeviceNode[];
  mounts: SpecMount[];
  /** Paths in the container covered by an empty read-only tmpfs or /dev/null when they exist. */
  maskedPaths: string[];
  /** Paths in the container made read-only when they exist. */
  readonlyPaths: string[];
  process: ProcessSpec;
  /** Keep a stdin pipe open for attach; otherwise the payload reads /dev/null. */
  stdin: boolean;
  stdinOnce: boolean;
  /** Absolute log file path, or '' for no log. */
  logPath: string;
  /** A folder above it, below which no symlink is followed; '' follows all but the last. */
  logFolder: string;
}

/** Folders in the cgroup v2 hierarchy, absolute from its root. */
export interface ContainerCgroup {
  /** Made and limited by the agent; liblxc makes only `<outer>/lxc` below. */
  outer: string;
  /** Made by liblxc for its monitor: one per container. */
  monitor: string;
  /** Where liblxc parks itself while it removes the others; one per agent is enough. */
  pivot: string;
  /** Holds the shim; made by the agent. */
  shim: string;
}

/** Limits as CRI words them; 0 and '' stand for "not given", -1 for "no limit". */
export interface Resources {
  cpuShares: number;
  /** Microseconds per period. */
  cpuQuota: number;
  cpuPeriod: number;
  cpusetCpus: string;
  cpusetMems: string;
  memoryLimitBytes: number;
  /** Memory and swap together. */
  memorySwapLimitBytes: number;
  hugepages: { pageSize: string; limitBytes: number }[];
  /** Files of cgroup v2 by name. */
  unified: Pairs;
}

/** A file of a cgroup and what to write to it. */
export interface CgroupWrite {
  /** Absolute from the root of the hierarchy. */
  path: string;
  file: string;
  value: string;
}

/** Both lists in the order of writing. */
export interface CgroupPlan {
  writes: CgroupWrite[];
  /** Puts back what was there. */
  undo: CgroupWrite[];
}

/** A change of limits under way: a killed agent's next start finishes it, or undoes it. */
export interface Resize extends CgroupPlan {
  /** What the record says in the end. */
  resources: Resources;
}

/** A limit of the kernel's for each process (setrlimit(2)). */
export interface Rlimit {
  /** `RLIMIT_NOFILE`. */
  type: string;
  /** Decimal; 2^64-1 for none. */
  soft: string;
  hard: string;
}

/** Programs of the host that a runtime calls at steps of a container's life, as OCI has them. */
export interface Hooks {
  prestart: Hook[];
  createRuntime: Hook[];
  poststart: Hook[];
  poststop: Hook[];
}

export interface Hook {
  path: string;
  /** argv[0] included. */
  args: string[];
  env: string[];
  /** 0 for none named. */
  timeoutMs: number;
}

/** What plugins were told of a container or have changed, where the rest of its record does not say it. */
export interface PluginFacts {
  argv: string[];
  /** With what plugins changed: CRI's answers keep the caller's. */
  annotations: Pairs;
  devices: DeviceNode[];
  hooks: Hooks;
  /** The filter is a plugin's, kept beside the record. */
  seccomp: boolean;
}

/** How a container ended; written by the shim, fsynced and renamed into place. */
export interface ExitRecord {
  /** Exit code, or 128 + signal. */
  exitCode: number;
  /** Signal that ended it, 0 for none. */
  signal: number;
  /** Nanoseconds since the epoch; 0n when the payload never started. */
  startedAt: bigint;
  finishedAt: bigint;
  oomKilled: boolean;
  /** Why it never ran or ended oddly, '' otherwise. */
  message: string;
}

export interface MountStatus {
  containerPath: string;
  hostPath: string;
  readonly: boolean;
  recursiveReadonly: boolean;
  propagation: 'private' | 'slave' | 'shared';
  /** Of an idmapped mount. */
  idMap: UserNamespace | null;
  /** For an image volume, which has no path on the host. */
  image: MountedImage | null;
}

export interface MountedImage {
  /** As the caller named it. */
  name: string;
  userSpecifiedImage: string;
  id: ImageId;
  /** The folder in it, '' for the whole. */
  subPath: string;
}

/** A container's description; only its limits ever change. Its state is derived from the shim and the exit record. */
export interface ContainerRecord {
  version: 1;
  id: ContainerId;
  sandboxId: SandboxId;
  phase: 'creating' | 'created';
  createdAt: string;
  bootId: string;
  metadata: ContainerMetadata;
  /** A name of the image: the caller's, or a tag where the caller gave an id, as the kubelet does. */
  image: string;
  /** What the pod's author wrote, as the caller tells it; '' when it does not. */
  userSpecifiedImage: string;
  imageId: ImageId;
  imageRef: string;
  labels: Pairs;
  annotations: Pairs;
  logPath: string;
  mounts: MountStatus[];
  cgroup: ContainerCgroup;
  /** Resolved identity, as ContainerStatus.user reports it. */
  user: { uid: number; gid: number; supplementalGroups: number[] };
  stopSignal: number;
  /** Those in force; null when none are. */
  resources: Resources | null;
  /** Set while they are being changed. */
  resize: Resize | null;
  /** What an exec inherits from the container's own process; argv and tty are the exec's. */
  process: Omit<ProcessSpec, 'argv' | 'seccomp' | 'tty'>;
  /** Of a profile file the compiled filter is kept beside the record, for execs: the file may change. */
  seccompProfile: SecurityProfile;
  /** null in records of agents that did not keep it. */
  pidNamespace: { mode: NamespaceMode; targetId: string } | null;
  stdin: boolean;
  stdinOnce: boolean;
  tty: boolean;
  requestDigest: string;
  /** Of its CDI devices; null without any. */
  deviceHooks: Hooks | null;
  /** null where it was made without NRI. */
  plugins: PluginFacts | null;
  /**
   * Set when the shim was found dead without an exit record (killed, or the host rebooted): the
   * moment it was found, why, and when it had started ('0' for never). The exit code is not known then.
   */
  lost: { at: string; message: string; startedAt: string } | null;
}

export type ContainerState = 'created' | 'running' | 'exited' | 'unknown';

/** A file of an artifact, which is a blob of the image store. */
export interface ArtifactFile {
  /** Relative, without `.` or `..`. */
  path: string;
  digest: string;
}

/** An image that is complete on disk. */
export interface ImageRecord {
  version: 1;
  id: ImageId;
  /** `registry/repository:tag`, fully qualified. */
  repoTags: string[];
  /** `registry/repository@sha256:…`, fully qualified. */
  repoDigests: string[];
  /** Bytes on the wire: config and compressed layers. Always above zero. */
  size: number;
  /** diff_ids, bottom layer first. */
  layers: string[];
  /** Of an OCI artifact, which can be a volume and nothing else; its id is its manifest's digest. */
  files?: ArtifactFile[] | undefined;
  config: ImageConfig;
  /** When it was built, as its config words it; '' where that says nothing. */
  createdAt: string;
  /** When it was pulled; '0' in records of agents that did not keep it. */
  pulledAt: string;
}

/** The part of an OCI image config that a runtime acts on. Hostile input: validated on the way in. */
export interface ImageConfig {
  user: string;
  env: string[];
  entrypoint: string[];
  cmd: string[];
  workingDir: string;
  volumes: string[];
  stopSignal: string;
  labels: Pairs;
}
