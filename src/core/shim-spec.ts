/**
 * The tagged binary format between the agent and its native helpers; native/common/wire.h reads it.
 *
 * A message is a run of fields: u16 tag, u32 length, bytes, all little endian. Numbers are 8 bytes,
 * text ends with its NUL, some fields nest a message.
 */
import { bytesFromText } from './byte-text.js';
import { RuntimeError } from './errors.js';
import type {
  BindMount,
  ContainerSpec,
  DeviceNode,
  ProcessSpec,
  Rlimit,
  TerminalSize,
  UserNamespace,
} from './model.js';

/** Names and numbers of `enum class Tag` in wire.h, compared by the unit test. */
export const TAG = {
  id: 1,
  directory: 2,
  runDirectory: 3,
  logPath: 4,
  cgroupRoot: 5,
  cgroupOuter: 6,
  cgroupMonitor: 7,
  readonlyRootfs: 8,
  mount: 9,
  maskedPath: 10,
  readonlyPath: 11,
  process: 12,
  keepStdin: 13,
  stdinOnce: 14,
  privileged: 15,
  logFolder: 17,
  userNamespace: 18,
  rootUid: 19,
  rootGid: 27,
  device: 16,
  mountSource: 20,
  mountTarget: 21,
  mountReadonly: 22,
  mountRecursiveReadonly: 23,
  mountPropagation: 24,
  mountDescriptor: 25,
  mountRestrictions: 26,
  mountIdmapped: 28,
  argument: 30,
  environment: 31,
  cwd: 32,
  uid: 33,
  gid: 34,
  group: 35,
  capabilities: 36,
  noNewPrivileges: 37,
  seccomp: 38,
  appArmorProfile: 39,
  oomScoreAdj: 40,
  tty: 41,
  seccompFlags: 45,
  ambientCapabilities: 46,
  rlimit: 47,
  execName: 50,
  reportStart: 51,
  operation: 60,
  signal: 61,
  rows: 62,
  columns: 63,
  state: 70,
  pid: 71,
  startedAt: 72,
  shimPid: 73,
  errno: 74,
  step: 75,
  text: 76,
  waitStatus: 77,
  lostBytes: 78,
  devicePath: 100,
  deviceIsBlock: 101,
  deviceMajor: 102,
  deviceMinor: 103,
  deviceMode: 104,
  deviceUid: 105,
  deviceGid: 106,
  deviceAccess: 107,
  deviceOptional: 108,
} as const;

/** `enum class Operation` in wire.h. */
export const OPERATION = {
  status: 1,
  start: 2,
  sendSignal: 3,
  reopenLog: 4,
  resize: 5,
  attach: 6,
} as const;

/** `enum class State` in wire.h. */
export const STATE = { created: 1, running: 2 } as const;

/** MOUNT_ATTR_* of linux/mount.h. */
const RESTRICTION = { nosuid: 2, nodev: 4, noexec: 8 } as const;

const PROPAGATION = { private: 0, slave: 1, shared: 2 } as const;

const HEADER = 6;

/** Builds one message. */
export class MessageWriter {
  readonly #parts: Buffer[] = [];

  number(tag: number, value: number | bigint | boolean): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt.asIntN(64, BigInt(value)));
    return this.bytes(tag, bytes);
  }

  text(tag: number, value: string): this {
    return this.bytes(tag, Buffer.from(`${withoutNul(value)}\0`));
  }

  /** Text that stands for bytes (byte-text.ts). */
  byteText(tag: number, value: string): this {
    return this.bytes(tag, bytesFromText(`${withoutNul(value)}\0`));
  }

  message(tag: number, nested: MessageWriter): this {
    return this.bytes(tag, nested.finish());
  }

  bytes(tag: number, value: Uint8Array): this {
    const header = Buffer.alloc(HEADER);
    header.writeUInt16LE(tag, 0);
    header.writeUInt32LE(value.length, 2);
    this.#parts.push(header, Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    return this;
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

function withoutNul(value: string): string {
  if (!value.includes('\0')) return value;
  throw new RuntimeError(
    'invalid-argument',
    `${JSON.stringify(value.slice(0, 200))} contains a NUL character, which no argument, path or variable can`,
  );
}

/** A decoded message: the last field of each tag. */
export class Message {
  readonly #fields = new Map<number, Buffer>();

  /** Throws for bytes that are no message. */
  constructor(bytes: Uint8Array) {
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < data.length;) {
      const end = at + HEADER <= data.length ? at + HEADER + data.readUInt32LE(at + 2) : Infinity;
      if (end > data.length)
        throw new RuntimeError('internal', `a native helper's message is cut off at byte ${at}`);
      this.#fields.set(data.readUInt16LE(at), data.subarray(at + HEADER, end));
      at = end;
    }
  }

  has(tag: number): boolean {
    return this.#fields.has(tag);
  }

  /** 0n when it is absent. */
  bigint(tag: number): bigint {
    const bytes = this.#fields.get(tag);
    return bytes?.length === 8 ? bytes.readBigInt64LE() : 0n;
  }

  /** 0 when it is absent. */
  number(tag: number): number {
    return Number(this.bigint(tag));
  }

  /** '' when it is absent. */
  text(tag: number): string {
    const bytes = this.#fields.get(tag);
    return bytes === undefined ? '' : bytes.toString('utf8', 0, Math.max(0, bytes.length - 1));
  }

  nested(tag: number): Message {
    return new Message(this.#fields.get(tag) ?? Buffer.alloc(0));
  }
}

/** Where a helper stopped: its step, the errno, and the object it happened to. */
export interface NativeFailure {
  step: string;
  errno: number;
  text: string;
}

/** The failure a message carries, or undefined for success. */
export function failureOf(message: Message): NativeFailure | undefined {
  if (!message.has(TAG.errno)) return undefined;
  return {
    step: message.text(TAG.step),
    errno: message.number(TAG.errno),
    text: message.text(TAG.text),
  };
}

/** Behind the shim's own descriptors (native/shim/main.cc) come the mounts that have one. */
const FIRST_MOUNT_FD = 7;

export function encodeShimSpec(spec: ContainerSpec, cgroupRoot: string): Buffer {
  const message = new MessageWriter()
    .text(TAG.id, spec.id)
    .text(TAG.directory, spec.directory)
    .text(TAG.runDirectory, spec.runDirectory)
    .text(TAG.logPath, spec.logPath)
    .text(TAG.logFolder, spec.logFolder)
    .text(TAG.cgroupRoot, cgroupRoot)
    .text(TAG.cgroupOuter, spec.cgroup.outer)
    .text(TAG.cgroupMonitor, spec.cgroup.monitor)
    .number(TAG.readonlyRootfs, spec.readonlyRootfs)
    .number(TAG.keepStdin, spec.stdin)
    .number(TAG.stdinOnce, spec.stdinOnce)
    .number(TAG.privileged, spec.privileged);
  if (spec.userNamespace !== null) {
    message.text(TAG.userNamespace, spec.userNamespace.path);
    encodeRoot(message, spec.userNamespace.map);
  }
  for (const device of spec.devices) message.message(TAG.device, encodeDevice(device));
  let descriptor = FIRST_MOUNT_FD;
  for (const mount of spec.mounts) {
    const encoded = encodeMount(mount);
    if (mount.mounted !== undefined) encoded.number(TAG.mountDescriptor, descriptor++);
    message.message(TAG.mount, encoded);
  }
  for (const path of spec.maskedPaths) message.text(TAG.maskedPath, path);
  for (const path of spec.readonlyPaths) message.text(TAG.readonlyPath, path);
  return message.message(TAG.process, encodeProcess(spec.process)).finish();
}

export interface ExecSpec {
  cgroupRoot: string;
  /** The container's outer cgroup. */
  cgroup: string;
  /** Folder made below it for this command. */
  name: string;
  /** The container's; null for the host's. */
  userNamespace: UserNamespace | null;
  process: ProcessSpec;
  /** It is given one; otherwise it reads the container's null device. */
  stdin: boolean;
  /** The helper says when execve has succeeded, and not only how all ended. */
  reportStart: boolean;
  /** Of its terminal. */
  size: TerminalSize | null;
}

export function encodeExecSpec(spec: ExecSpec): Buffer {
  const message = new MessageWriter();
  if (spec.userNamespace !== null) encodeRoot(message, spec.userNamespace);
  return message
    .text(TAG.cgroupRoot, spec.cgroupRoot)
    .text(TAG.cgroupOuter, spec.cgroup)
    .text(TAG.execName, spec.name)
    .number(TAG.keepStdin, spec.stdin)
    .number(TAG.reportStart, spec.reportStart)
    .number(TAG.rows, spec.size?.rows ?? 0)
    .number(TAG.columns, spec.size?.columns ?? 0)
    .message(TAG.process, encodeProcess(spec.process))
    .finish();
}

function encodeRoot(message: MessageWriter, { uids, gids }: UserNamespace): void {
  message.number(TAG.rootUid, uids.hostId).number(TAG.rootGid, gids.hostId);
}

function encodeMount(mount: BindMount): MessageWriter {
  return new MessageWriter()
    .text(TAG.mountSource, mount.source)
    .text(TAG.mountTarget, mount.target)
    .number(TAG.mountReadonly, mount.readonly)
    .number(TAG.mountRecursiveReadonly, mount.recursiveReadonly)
    .number(TAG.mountPropagation, PROPAGATION[mount.propagation])
    .number(TAG.mountIdmapped, mount.idmapped ?? false)
    .number(
      TAG.mountRestrictions,
      (mount.restrictions ?? []).reduce((sum, each) => sum | RESTRICTION[each], 0),
    );
}

function encodeDevice(device: DeviceNode): MessageWriter {
  return new MessageWriter()
    .text(TAG.devicePath, device.path)
    .number(TAG.deviceIsBlock, device.type === 'block')
    .number(TAG.deviceMajor, device.major)
    .number(TAG.deviceMinor, device.minor)
    .number(TAG.deviceMode, device.mode)
    .number(TAG.deviceUid, device.uid)
    .number(TAG.deviceGid, device.gid)
    .number(TAG.deviceAccess, device.access)
    .number(TAG.deviceOptional, device.optional);
}

function encodeProcess(process: ProcessSpec): MessageWriter {
  const message = new MessageWriter();
  for (const argument of process.argv) message.text(TAG.argument, argument);
  for (const variable of process.env) message.byteText(TAG.environment, variable);
  message
    .text(TAG.cwd, process.cwd)
    .number(TAG.uid, process.uid)
    .number(TAG.gid, process.gid)
    .number(TAG.capabilities, capabilityMask(process.capabilities))
    .number(TAG.ambientCapabilities, capabilityMask(process.ambientCapabilities))
    .number(TAG.noNewPrivileges, process.noNewPrivileges)
    .number(TAG.seccompFlags, process.seccompFlags)
    .number(TAG.tty, process.tty);
  for (const group of process.supplementalGroups) message.number(TAG.group, group);
  if (process.seccomp !== null) message.bytes(TAG.seccomp, process.seccomp);
  if (process.apparmorProfile !== null) message.text(TAG.appArmorProfile, process.apparmorProfile);
  if (process.oomScoreAdj !== null) message.number(TAG.oomScoreAdj, process.oomScoreAdj);
  for (const limit of process.rlimits) message.bytes(TAG.rlimit, encodeRlimit(limit));
  return message;
}

/** RLIMIT_* of linux/resource.h. */
const RLIMITS = [
  ...['CPU', 'FSIZE', 'DATA', 'STACK', 'CORE', 'RSS', 'NPROC', 'NOFILE', 'MEMLOCK', 'AS', 'LOCKS'],
  ...['SIGPENDING', 'MSGQUEUE', 'NICE', 'RTPRIO', 'RTTIME'],
];

/** Number of the resource, soft limit, hard limit: 8 bytes each. */
function encodeRlimit({ type, soft, hard }: Rlimit): Buffer {
  const number = RLIMITS.indexOf(type.replace(/^RLIMIT_/, ''));
  if (number < 0 || BigInt(soft) > BigInt(hard)) {
    throw new RuntimeError(
      'invalid-argument',
      `resource limit ${JSON.stringify(type.slice(0, 80))} of ${soft} to ${hard} is invalid: expected a name such as RLIMIT_NOFILE, and a soft limit of at most the hard one`,
    );
  }
  const bytes = Buffer.alloc(24);
  [BigInt(number), BigInt(soft), BigInt(hard)].forEach((value, i) => {
    bytes.writeBigUInt64LE(value, i * 8);
  });
  return bytes;
}

function capabilityMask(capabilities: readonly number[]): bigint {
  let mask = 0n;
  for (const capability of capabilities) {
    if (!Number.isInteger(capability) || capability < 0 || capability > 63)
      throw new RuntimeError('invalid-argument', `capability number ${capability} does not exist`);
    mask |= 1n << BigInt(capability);
  }
  return mask;
}
