/** What a stored record must look like before the agent believes it. */
import { z } from 'zod';
import type { ContainerId, ImageId, SandboxId } from '../core/ids.js';
import type { ContainerRecord, SandboxRecord } from '../core/model.js';

// Typed by the model: a field that is added there and forgotten here does not compile.
const id = z.string().regex(/^[0-9a-f]{64}$/);
const imageId = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const nanoseconds = z.string().regex(/^[0-9]{1,20}$/);
const pairs = z.array(z.tuple([z.string(), z.string()]));
const integer = z.int().min(0);

const resources = z.strictObject({
  cpuShares: z.int(),
  cpuQuota: z.int(),
  cpuPeriod: z.int(),
  cpusetCpus: z.string(),
  cpusetMems: z.string(),
  memoryLimitBytes: z.int(),
  memorySwapLimitBytes: z.int(),
  hugepages: z.array(z.strictObject({ pageSize: z.string(), limitBytes: z.number().min(0) })),
  unified: pairs,
});
const writes = z.array(
  z.strictObject({ path: z.string(), file: z.string().regex(/^[\w.]+$/), value: z.string() }),
);
const resize = z.strictObject({ resources, writes, undo: writes });
const device = z.strictObject({
  path: z.string(),
  type: z.enum(['block', 'character']),
  major: integer,
  minor: integer,
  mode: integer,
  uid: integer,
  gid: integer,
  access: integer,
  optional: z.boolean(),
});
const hook = z.array(
  z.strictObject({
    path: z.string(),
    args: z.array(z.string()),
    env: z.array(z.string()),
    timeoutMs: integer,
  }),
);
const rlimit = z.strictObject({
  type: z.string(),
  soft: z.string().regex(/^\d+$/),
  hard: z.string().regex(/^\d+$/),
});
const hooks = z.strictObject({
  prestart: hook,
  createRuntime: hook,
  poststart: hook,
  poststop: hook,
});
const plugins = z.strictObject({
  argv: z.array(z.string()),
  annotations: pairs,
  devices: z.array(device),
  hooks,
  seccomp: z.boolean(),
});
const pidMode = z.enum(['pod', 'container', 'node', 'target']);

const idRange = z.strictObject({ containerId: integer, hostId: integer, length: integer });
// Records of agents without user namespaces lack it.
const userNamespace = z.strictObject({ uids: idRange, gids: idRange }).nullable().default(null);

export const sandboxRecord: z.ZodType<SandboxRecord> = z.strictObject({
  version: z.literal(1),
  id: id as unknown as z.ZodType<SandboxId>,
  phase: z.enum(['creating', 'ready', 'stopping', 'stopped']),
  createdAt: nanoseconds,
  bootId: z.string(),
  metadata: z.strictObject({
    name: z.string(),
    uid: z.string(),
    namespace: z.string(),
    attempt: integer,
  }),
  hostname: z.string(),
  logDirectory: z.string(),
  dns: z
    .strictObject({
      servers: z.array(z.string()),
      searches: z.array(z.string()),
      options: z.array(z.string()),
    })
    .nullable(),
  portMappings: z.array(
    z.strictObject({
      protocol: z.enum(['tcp', 'udp', 'sctp']),
      containerPort: integer,
      hostPort: integer,
      hostIp: z.string(),
    }),
  ),
  labels: pairs,
  annotations: pairs,
  cgroup: z.string(),
  ownsCgroup: z.boolean(),
  namespaces: z.strictObject({
    network: z.enum(['pod', 'node']),
    pid: pidMode,
    ipc: z.enum(['pod', 'node']),
    targetId: z.string(),
  }),
  userNamespace,
  sysctls: pairs,
  privileged: z.boolean(),
  runtimeHandler: z.string(),
  ips: z.array(z.string()),
  // Records of agents that could not change limits lack these.
  overhead: resources.nullable().default(null),
  resources: resources.nullable().default(null),
  resize: resize.nullable().default(null),
  requestDigest: z.string(),
});

export const containerRecord: z.ZodType<ContainerRecord> = z.strictObject({
  version: z.literal(1),
  id: id as unknown as z.ZodType<ContainerId>,
  sandboxId: id as unknown as z.ZodType<SandboxId>,
  phase: z.enum(['creating', 'created']),
  createdAt: nanoseconds,
  bootId: z.string(),
  metadata: z.strictObject({ name: z.string(), attempt: integer }),
  image: z.string(),
  userSpecifiedImage: z.string(),
  imageId: imageId as unknown as z.ZodType<ImageId>,
  imageRef: z.string(),
  labels: pairs,
  annotations: pairs,
  logPath: z.string(),
  mounts: z.array(
    z.strictObject({
      containerPath: z.string(),
      hostPath: z.string(),
      readonly: z.boolean(),
      recursiveReadonly: z.boolean(),
      propagation: z.enum(['private', 'slave', 'shared']),
      idMap: userNamespace,
      // Records of agents without image volumes lack it.
      image: z
        .strictObject({
          name: z.string(),
          userSpecifiedImage: z.string(),
          id: imageId as unknown as z.ZodType<ImageId>,
          subPath: z.string(),
        })
        .nullable()
        .default(null),
    }),
  ),
  cgroup: z.strictObject({
    outer: z.string(),
    monitor: z.string(),
    pivot: z.string(),
    shim: z.string(),
  }),
  user: z.strictObject({ uid: integer, gid: integer, supplementalGroups: z.array(integer) }),
  stopSignal: integer,
  resources: resources.nullable(),
  resize: resize.nullable().default(null),
  process: z.strictObject({
    env: z.array(z.string()),
    cwd: z.string(),
    uid: integer,
    gid: integer,
    supplementalGroups: z.array(integer),
    capabilities: z.array(integer),
    ambientCapabilities: z.array(integer).default([]),
    noNewPrivileges: z.boolean(),
    // Since profile files: records written before have none.
    seccompFlags: integer.default(0),
    apparmorProfile: z.string().nullable(),
    oomScoreAdj: z.int().nullable(),
    // Since plugins: records written before have none.
    rlimits: z.array(rlimit).default([]),
  }),
  seccompProfile: z.union([
    z.enum(['runtime-default', 'unconfined']),
    z.templateLiteral(['localhost/', z.string()]),
  ]),
  pidNamespace: z.strictObject({ mode: pidMode, targetId: z.string() }).nullable().default(null),
  stdin: z.boolean(),
  stdinOnce: z.boolean(),
  tty: z.boolean(),
  requestDigest: z.string(),
  // Records of agents without NRI lack it.
  // Since CDI devices.
  deviceHooks: hooks.nullable().default(null),
  plugins: plugins.nullable().default(null),
  lost: z
    .strictObject({ at: nanoseconds, message: z.string(), startedAt: nanoseconds.default('0') })
    .nullable(),
});
