/** Containers as processes: create, start, stop, exec, attach (lxc/). A port has its real implementation in the adapter named, and a fake in test/fakes. */
import type { Readable, Writable } from 'node:stream';
import type { ContainerId } from '../ids.js';
import type {
  ContainerSpec,
  ExitRecord,
  ProcessSpec,
  TerminalSize,
  UserNamespace,
} from '../model.js';
import type { OwnedFd } from './network.js';

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
  /** The container's; null for the host's. */
  userNamespace: UserNamespace | null;
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
  userNamespace: UserNamespace | null;
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
