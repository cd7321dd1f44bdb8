/** The whole native surface, and the one place that loads the addon. */
import { createRequire } from 'node:module';
import { basename, join, resolve } from 'node:path';
import { wrap } from '../core/errors.js';
import type { SeccompProfile } from '../core/seccomp-rules.js';

/** Descriptors are plain numbers; whoever is given one closes it (fs.closeSync). All are close-on-exec. */
export interface NativeAddon {
  /**
   * Starts a program by clone3(CLONE_VM|CLONE_VFORK|CLONE_PIDFD[|CLONE_INTO_CGROUP]): no fork of Node.
   * The child gets default signal dispositions, an empty mask, a session of its own, exactly the
   * descriptors listed, and nothing else. Rejects with {code, errno, syscall} when the program can't run.
   * The descriptors stay the caller's, who keeps them open until this has settled.
   */
  spawn(options: SpawnOptions): Promise<{ pid: number; pidfd: number }>;
  ExitWatcher: new (onExit: (token: number, status: ExitStatus | null) => void) => ExitWatcher;
  CgroupSweeper: new () => CgroupSweeper;
  TreeCounter: new (path: string) => TreeCounter;
  /**
   * What lies below a folder that nobody changes, the folder included: bytes and inodes on disk, and a
   * fingerprint of names, types, modes, owners, link targets, extended attributes, of files size and time in
   * seconds, with the files' content as well when that is asked for. On a thread of its own.
   */
  treeListing(
    path: string,
    withContent: boolean,
  ): Promise<{ bytes: number; inodes: number; fingerprint: string }>;
  /**
   * Removes a folder with everything below it, however deep, or a file. OK when there is none. Follows no
   * link; rejects with EXDEV or EBUSY where something is mounted below it, whose files stay. On a
   * thread of its own.
   */
  removeTree(path: string): Promise<void>;

  pidfdOpen(pid: number): number;
  /** Throws ESRCH when the process is gone. */
  pidfdSignal(pidfd: number, signal: number): void;
  pipe(): { read: number; write: number };
  /** Both ends of a connected unix stream socket. */
  socketPair(): [number, number];
  /** A sealed, read-only memory file positioned at its start; one that can be run when asked for. */
  memfd(name: string, content: Uint8Array, executable?: boolean): number;
  /** SO_PEERCRED of a connected unix socket. */
  peerCredentials(fd: number): { pid: number; uid: number; gid: number };
  /** Opens or makes a file and takes flock(LOCK_EX | LOCK_NB) on it; throws EAGAIN when it is held. */
  lockFile(path: string): number;

  /** Makes namespaces on a thread of its own and binds them to the given (existing, empty) files. */
  pinNamespaces(options: PinOptions): Promise<void>;
  /** Binds a namespace of /proc (`/proc/PID/ns/pid`) to an existing, empty file. */
  bindNamespace(source: string, target: string): void;
  /** True when the path is a mounted namespace. False when it does not exist. */
  isNamespace(path: string): boolean;
  /** A tmpfs for POSIX shared memory of that owner: mode 1777, nosuid, nodev, noexec. */
  mountSharedMemory(path: string, sizeBytes: number, uid: number, gid: number): void;
  /** True when the path itself is where something is mounted. False when it does not exist. */
  isMountPoint(path: string): boolean;
  /**
   * The interfaces of each network namespace but loopback, read on a worker thread by rtnetlink; null
   * for one that cannot be entered any more.
   */
  interfaceCounters(
    paths: string[],
  ): Promise<({ timestampMs: number; interfaces: InterfaceCounters[] } | null)[]>;
  /**
   * A non-blocking TCP connection to 127.0.0.1 of a network namespace, or to ::1 where that fails; null
   * is the agent's own namespace. On a thread of its own; rejects with ETIMEDOUT after the limit.
   */
  connectLoopback(namespace: string | null, port: number, timeoutMs: number): Promise<number>;
  /** umount2(MNT_DETACH | UMOUNT_NOFOLLOW). False when nothing was mounted there. */
  unmount(path: string): boolean;
  /**
   * A detached overlay mount; `lower` is top layer first. With the descriptor of a user namespace the
   * layers' files have the owners that it gives them; `upper` is taken as it lies.
   */
  mountOverlay(options: {
    lower: string[];
    upper: string;
    work: string;
    userNamespace?: number;
  }): Promise<number>;
  /**
   * A detached read-only mount, nosuid and nodev, of a folder, or of layers with the top one first;
   * of the folder `subPath` in it, looked up inside, unless that is ''. `place` is an empty folder.
   * `whole` is a detached mount instead of layers; it stays the caller's, and becomes what is answered.
   * With a user namespace, the layers' files have the owners it gives them.
   */
  mountVolume(
    options: ({ lower: string[] } | { whole: number }) & {
      place: string;
      subPath: string;
      userNamespace?: number;
    },
  ): Promise<number>;
  /**
   * A detached mount of a block device or dataset: `options` are words, or `key=value`. With a user
   * namespace, files have the owners it gives them.
   */
  mountFilesystem(options: {
    type: string;
    source: string;
    options: string[];
    userNamespace?: number;
  }): Promise<number>;
  /** The host's ids for the owner of a folder in a user namespace; EOVERFLOW when it has none. */
  mappedOwner(folder: string, userNamespace: number): Promise<{ uid: number; gid: number }>;

  /** Project quotas of the file system that a folder is on; both false where it has none. */
  quotaState(folder: string): Promise<{ accounted: boolean; enforced: boolean }>;
  /** The project that a folder belongs to, 0 for none. */
  projectOf(folder: string): Promise<number>;
  /** What is made in the folder from now on belongs to the project, too. */
  setProject(folder: string, id: number): Promise<void>;
  /** 0 bytes stand for no limit. */
  setProjectLimit(folder: string, id: number, bytes: number): Promise<void>;
  /** In the order of `ids`, on the file system of the folder. */
  projectUsages(folder: string, ids: number[]): Promise<ProjectUsage[]>;
  /** The projects of a range that own something or have a limit, on the file system of the folder. */
  listProjects(folder: string, first: number, last: number): Promise<ProjectUsage[]>;
  /**
   * Reads a regular file below a root by openat2(RESOLVE_IN_ROOT), at most maxBytes of it; null when
   * it does not exist. Anything but a regular file throws EINVAL, without opening it for reading.
   */
  readFileInRoot(rootFd: number, path: string, maxBytes: number): Uint8Array | null;

  /**
   * For so long, writes to cgroup.procs do not wait for an RCU grace period; resolved when that is so.
   * `root` is where cgroup v2 is mounted. Never rejects for what the kernel says.
   */
  expectCgroupMoves(root: string, milliseconds: number): Promise<void>;

  /**
   * Compiles a filter for this machine with libseccomp; the bytes are struct sock_filter[]. Throws
   * {code, syscall, path}, where `path` is the system call whose rule is at fault.
   */
  compileSeccomp(profile: SeccompProfile): Uint8Array;
  /** sd_notify without a spawn. False when NOTIFY_SOCKET is not set. */
  notify(message: string): boolean;
  /** cfmakeraw(3) of a terminal; the answer is what it was, for setTerminal. */
  makeTerminalRaw(fd: number): Uint8Array;
  setTerminal(fd: number, settings: Uint8Array): void;
  /** Version of the liblxc that is loaded. */
  lxcVersion(): string;
  /** Command-socket calls for containers not our own (Proxmox CTs), on own threads with a time limit. */
  lxcState(lxcpath: string, name: string): Promise<{ state: string; initPid: number }>;
  lxcFreeze(lxcpath: string, name: string, freeze: boolean): Promise<void>;
}

export interface SpawnOptions {
  file: string;
  /** argv[0] included. */
  argv: string[];
  /** `KEY=value`; nothing is inherited. */
  env: string[];
  /** fds[i] becomes descriptor i of the child; -1 stands for /dev/null. At least three. */
  fds: number[];
  cwd?: string;
  /** Descriptor of a cgroup v2 folder to start in. */
  cgroupFd?: number;
  /** Start as pid 1 of a new PID namespace. */
  newPidNamespace?: boolean;
}

/** One of the two is null. The whole is null for a process that is not our child. */
export interface ExitStatus {
  code: number | null;
  signal: number | null;
}

/** One epoll thread for all processes. */
export interface ExitWatcher {
  /** Reports once and reaps the process when it is our child. Duplicates the descriptor. */
  add(pidfd: number, token: number): void;
  /** No report after this. */
  remove(token: number): void;
  /** Idempotent. */
  close(): void;
}

/**
 * Counts what is below a folder, on a thread of its own: as allocated on disk, hard links once, no link
 * followed. What vanishes or cannot be read counts nothing; past two million entries it stops.
 */
export interface TreeCounter {
  /** To be called once. */
  run(): Promise<void>;
  /** Lower bounds until `run` has resolved. */
  readonly bytes: number;
  readonly inodes: number;
}

export interface ProjectUsage {
  id: number;
  usedBytes: number;
  inodesUsed: number;
  /** 0 for none. */
  limitBytes: number;
}

export interface CgroupSweeper {
  /**
   * `path` is an absolute folder in the cgroup v2 mount. Descriptors are opened once and kept. Counting
   * processes walks through all that is below.
   */
  add(token: number, path: string, countProcesses: boolean): void;
  remove(token: number): void;
  /**
   * Reads these cgroups on a worker thread, and perhaps others that somebody asks for now. Rows of SWEEP_FIELDS doubles: token, milliseconds since the
   * epoch, then the figures; NaN for what the kernel does not tell here. A removed cgroup has no row.
   */
  sweep(tokens: Float64Array): Promise<Float64Array>;
  close(): void;
}

/** Columns of a sweep row, in order. */
export const SWEEP_FIELDS = [
  'token',
  'timestampMs',
  'cpuUsageMicros',
  'memoryBytes',
  'inactiveFileBytes',
  'anonBytes',
  'pageFaults',
  'majorPageFaults',
  'swapBytes',
  'memoryLimitBytes',
  'swapLimitBytes',
  'processes',
  // Pressure stall information: percents of time, and microseconds in all.
  ...pressureFields('cpu'),
  ...pressureFields('memory'),
  ...pressureFields('io'),
] as const;

function pressureFields<R extends string>(resource: R) {
  return [
    `${resource}.some.avg10`,
    `${resource}.some.avg60`,
    `${resource}.some.avg300`,
    `${resource}.some.total`,
    `${resource}.full.avg10`,
    `${resource}.full.avg60`,
    `${resource}.full.avg300`,
    `${resource}.full.total`,
  ] as const;
}

/** Since the interface was made, as its namespace sees it. */
export interface InterfaceCounters {
  name: string;
  rxBytes: number;
  rxErrors: number;
  txBytes: number;
  txErrors: number;
}

export interface PinOptions {
  net?: string;
  ipc?: string;
  uts?: string;
  /** A user namespace that the others belong to; with lines for /proc/PID/uid_map and gid_map. */
  user?: string;
  uidMap?: string;
  gidMap?: string;
  /** The host's id of its root. */
  rootUid?: number;
  hostname?: string;
  sysctls?: [key: string, value: string][];
}

const ADDON = 'pvecri.node';
let loaded: NativeAddon | undefined;

/**
 * Folder of pvecri.node, pvecri-shim, pvecri-init, pvecri-exec and pvecri-unpack: PVECRI_NATIVE_DIR,
 * or node-gyp's build/Release beside src/ (from source) or dist/ (from the bundle).
 */
export function libexecDir(): string {
  const override = process.env['PVECRI_NATIVE_DIR'];
  if (override !== undefined && override !== '') return resolve(override);
  const here = import.meta.dirname;
  // The bundle is one file in dist/; this one lies two folders below the project.
  const project = basename(here) === 'native' ? resolve(here, '../..') : resolve(here, '..');
  return join(project, 'build/Release');
}

/** Loads the addon at the first call; every later call gets the same one. */
export function loadAddon(): NativeAddon {
  if (loaded === undefined) {
    const path = join(libexecDir(), ADDON);
    try {
      loaded = createRequire(import.meta.url)(path) as NativeAddon;
    } catch (error) {
      throw wrap(
        error,
        `cannot load the native part ${path}: run "npm run build:native" or set PVECRI_NATIVE_DIR`,
        'failed-precondition',
      );
    }
  }
  return loaded;
}
