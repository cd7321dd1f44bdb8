/** The adjustments of all plugins, merged, in the runtime's words. */
import { RuntimeError } from '../core/errors.js';
import type { DeviceNode, Hook, Rlimit } from '../core/model.js';
import type { ContainerAdjustment } from '../core/ports/plugins.js';
import { NO_LIMITS } from '../core/resource-change.js';
import { REMOVAL, type Adjusting } from './adjustment.js';
import type { Hook as NriHook, POSIXRlimit } from './gen/container.js';
import type { LinuxDevice, LinuxSeccomp } from './gen/linux.js';

/** mknod, read and write, as an OCI runtime lets through to a device it makes. */
const ALL_ACCESS = 7;
const DEFAULT_DEVICE_MODE = 0o666;

export function toCoreAdjustment(adjusting: Adjusting): ContainerAdjustment {
  const { adjustment: all, resources } = adjusting;
  const { linux, hooks } = all;
  const devices = linux?.devices ?? [];
  const policy = linux?.seccompPolicy;
  return {
    args: all.args,
    removedEnv: removedNames(all.env.map(({ key }) => key)),
    env: all.env.filter(({ key }) => isAdded(key)).map(({ key, value }) => [key, value]),
    removedAnnotations: removedNames(all.annotations.keys()),
    annotations: [...all.annotations].filter(([key]) => isAdded(key)),
    removedMounts: removedNames(all.mounts.map(({ destination }) => destination)),
    mounts: all.mounts
      .filter(({ destination }) => isAdded(destination))
      .map(({ destination, type, source, options }) => ({
        ...{ target: destination, type, source, options },
      })),
    removedDevices: removedNames(devices.map(({ path }) => path)),
    devices: devices.filter(({ path }) => isAdded(path)).map(toDevice),
    cdiDevices: all.CDIDevices.map(({ name }) => name),
    hooks: {
      prestart: hooks?.prestart.map(toHook) ?? [],
      createRuntime: hooks?.createRuntime.map(toHook) ?? [],
      poststart: hooks?.poststart.map(toHook) ?? [],
      poststop: hooks?.poststop.map(toHook) ?? [],
    },
    rlimits: all.rlimits.map(toRlimit),
    resources: resources === NO_LIMITS ? null : resources,
    cgroup: linux?.cgroupsPath ?? '',
    oomScoreAdj: linux?.oomScoreAdj === undefined ? null : Number(linux.oomScoreAdj.value),
    seccomp: policy === undefined ? null : toSeccompDocument(policy),
  };
}

function isAdded(name: string): boolean {
  return !name.startsWith(REMOVAL);
}

function removedNames(names: Iterable<string>): string[] {
  return [...names].filter((name) => !isAdded(name)).map((name) => name.slice(REMOVAL.length));
}

function toDevice(device: LinuxDevice): DeviceNode {
  const { path, type } = device;
  if (type !== 'b' && type !== 'c' && type !== 'u') {
    throw new RuntimeError(
      'unimplemented',
      `NRI: device ${path} of type ${JSON.stringify(type.slice(0, 20))} is not supported: expected b, c or u`,
    );
  }
  return {
    path,
    type: type === 'b' ? 'block' : 'character',
    major: Number(device.major),
    minor: Number(device.minor),
    mode: (device.fileMode?.value ?? DEFAULT_DEVICE_MODE) & 0o7777,
    uid: device.uid?.value ?? 0,
    gid: device.gid?.value ?? 0,
    access: ALL_ACCESS,
    optional: false,
  };
}

function toHook({ path, args, env, timeout }: NriHook): Hook {
  const seconds = Number(timeout?.value ?? 0n);
  return { path, args: args.length > 0 ? args : [path], env, timeoutMs: seconds * 1000 };
}

function toRlimit({ type, soft, hard }: POSIXRlimit): Rlimit {
  return { type, soft: String(soft), hard: String(hard) };
}

/** As the OCI runtime specification has it, which is what profile files are read as. */
function toSeccompDocument(policy: LinuxSeccomp): string {
  const { defaultErrno, listenerPath, listenerMetadata } = policy;
  return JSON.stringify({
    defaultAction: policy.defaultAction,
    ...(defaultErrno !== undefined && { defaultErrnoRet: defaultErrno.value }),
    ...(policy.architectures.length > 0 && { architectures: policy.architectures }),
    ...(policy.flags.length > 0 && { flags: policy.flags }),
    ...(listenerPath !== '' && { listenerPath }),
    ...(listenerMetadata !== '' && { listenerMetadata }),
    syscalls: policy.syscalls.map(({ names, action, errnoRet, args }) => ({
      names,
      action,
      ...(errnoRet !== undefined && { errnoRet: errnoRet.value }),
      ...(args.length > 0 && {
        args: args.map(({ index, value, valueTwo, op }) => ({
          ...{ index, value: wide(value), valueTwo: wide(valueTwo), op },
        })),
      }),
    })),
  });
}

/** JSON's numbers end where these need not. */
function wide(value: bigint): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new RuntimeError(
    'unimplemented',
    `NRI: seccomp argument ${value} is above ${Number.MAX_SAFE_INTEGER}, which is not supported`,
  );
}
