/** The one description of the configuration: keys, defaults, checks and the text of the manual. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { parseByteSize } from '../util/byte-size.js';
import { hasControlCharacter } from '../util/control-characters.js';
import { parseGoDuration } from '../util/go-duration.js';

export interface KeyInfo {
  description: string;
  /** Completes "expected …" in an error. */
  expects: string;
  /** Takes effect by SIGHUP; the others need a restart. */
  reloadable: boolean;
}

const keyInfo = z.registry<KeyInfo>();

// Longer paths do not fit sockaddr_un.sun_path, 108 bytes with the closing NUL (unix(7)).
const SOCKET_PATH_BYTES = 107;

const path = z.string().refine(isPlainPath);
const folder = path.refine((text) => text !== '/');
const socketPath = path.refine((text) => Buffer.byteLength(text) <= SOCKET_PATH_BYTES);
const PATH = 'an absolute path without "..", "//", closing "/" or control characters';
const FOLDER = `${PATH}, and not "/" itself`;
/** pve-storage, PVE::JSONSchema `pve-storage-id`. */
const LOCAL_STORAGE = /^pve:\/\/(?:\*|[a-z][a-z0-9._-]*[a-z0-9])$/i;
const BOOLEAN = 'true or false';
const duration = z.string().refine(isTimeLimit);
const DURATION = 'a duration such as "500ms" or "5s", from "100ms" to "5m"';
const SOCKET = `${PATH}, of at most ${SOCKET_PATH_BYTES} bytes`;

export const configSchema = z.strictObject({
  root: folder.default('/var/lib/pvecri').register(keyInfo, {
    description:
      'Folder of what must survive a reboot: images, writable layers, records of pods and containers. One agent at a time may use it.',
    expects: FOLDER,
    reloadable: false,
  }),
  state: folder.default('/run/pvecri').register(keyInfo, {
    description:
      'Folder of what a reboot may take: pinned namespaces and the control sockets of the shims. Put it on a tmpfs.',
    expects: FOLDER,
    reloadable: false,
  }),
  socket: socketPath.default('/run/pvecri/pvecri.sock').register(keyInfo, {
    description:
      'Unix socket on which the agent speaks CRI. A socket that systemd passes stands above this key.',
    expects: SOCKET,
    reloadable: false,
  }),
  admin: z
    .strictObject({
      socket: z
        .union([z.literal(''), socketPath])
        .default('')
        .register(keyInfo, {
          description:
            'Unix socket for what CRI has no call for: `pvecri exec`, `attach` and the commands about images use it. Empty stands for `admin.sock` in the folder `state`.',
          expects: `"", or ${SOCKET}`,
          reloadable: false,
        }),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info').register(keyInfo, {
        description: 'Least severe events that are logged.',
        expects: 'one of "trace", "debug", "info", "warn", "error"',
        reloadable: true,
      }),
    })
    .prefault({}),
  streaming: z
    .strictObject({
      address: z.string().refine(isLoopback).default('127.0.0.1').register(keyInfo, {
        description:
          "Address of the HTTP server for exec, attach and port-forward streams. The node's own kubelet is its only client.",
        expects: 'a loopback address: one of 127.0.0.0/8, or "::1"',
        reloadable: false,
      }),
      port: z.int().min(0).max(65535).default(0).register(keyInfo, {
        description: 'Port of that server; 0 takes any free one.',
        expects: 'an integer from 0 to 65535',
        reloadable: false,
      }),
    })
    .prefault({}),
  images: z
    .strictObject({
      hosts_dir: path.default('/etc/pvecri/certs.d').register(keyInfo, {
        description:
          "Folder of registry settings, laid out as containerd's: `<hosts_dir>/<registry>/hosts.toml` names mirrors and certificates. It may be absent. Point it at `/etc/containerd/certs.d` to share that one.",
        expects: PATH,
        reloadable: true,
      }),
      policy: path.default('/etc/pvecri/policy.json').register(keyInfo, {
        description:
          'File that says which images are accepted and whose signatures they need, as containers-policy.json(5) has it. Without the default file every image is accepted; a file that is named here must be there.',
        expects: PATH,
        reloadable: true,
      }),
      local_sources: z
        .array(z.union([path, z.string().regex(LOCAL_STORAGE)]))
        .default([])
        .register(keyInfo, {
          description:
            "Files of this node that may be pulled by CRI, that is by whoever may name a pod's image: Proxmox VE storages as `pve://STORAGE` (`pve://*` for all of them), and folders, which nobody but root should be able to write to. Without any, what CRI pulls comes from registries alone. `pvecri pull` and `pvecri run`, which are root's, may read any file.",
          expects: `a list of strings, each "pve://STORAGE", "pve://*" or ${PATH}`,
          reloadable: true,
        }),
    })
    .prefault({}),
  rootfs: z
    .strictObject({
      driver: z.enum(['overlay', 'lvm-thin', 'zfs']).default('overlay').register(keyInfo, {
        description:
          "What images and containers' files are kept in: folders and overlayfs, volumes of an LVM thin pool, or ZFS datasets: docs/storage.md. It cannot be changed while there are images or containers.",
        expects: 'one of "overlay", "lvm-thin", "zfs"',
        reloadable: false,
      }),
      size_limit: z.string().refine(isSizeLimit).default('0').register(keyInfo, {
        description:
          'What each container may write below its root directory, such as `10GiB`; `0` sets no limit. With overlayfs it takes a file system with project quotas: docs/storage.md. Containers that are there keep theirs.',
        expects: '"0", or a whole number with KiB, MiB, GiB or TiB, from "1MiB" to "1024TiB"',
        reloadable: false,
      }),
      lvm_thin: z
        .strictObject({
          volume_group: z.string().default('').register(keyInfo, {
            description:
              "LVM volume group of that pool, for `lvm-thin`. The agent's volumes in it are called `pvecri-…` and have the tag `pvecri`; others are left alone.",
            expects: 'a string',
            reloadable: false,
          }),
          pool: z.string().default('').register(keyInfo, {
            description: 'The thin pool, such as `data` in the group `pve`.',
            expects: 'a string',
            reloadable: false,
          }),
          size: z.string().refine(isVolumeSize).default('10GiB').register(keyInfo, {
            description:
              'Size of each volume: what an image and what a container writes to it must fit in, together. The pool gives what is in use. It cannot be changed while there are images or containers.',
            expects: 'a whole number with MiB, GiB or TiB, from "64MiB" to "16TiB"',
            reloadable: false,
          }),
        })
        .prefault({}),
      zfs: z
        .strictObject({
          dataset: z.string().default('').register(keyInfo, {
            description:
              'Dataset for `zfs`, such as `rpool/pvecri`. It must be there and have none below it; it is no place for anything else.',
            expects: 'a string',
            reloadable: false,
          }),
        })
        .prefault({}),
    })
    .prefault({}),
  network: z
    .strictObject({
      conf_dir: path.default('/etc/cni/net.d').register(keyInfo, {
        description:
          'Folder of CNI network configurations. The first valid file in the order of names is the network of all pods.',
        expects: PATH,
        reloadable: true,
      }),
      bin_dirs: z
        .array(path.refine((text) => !text.includes(':')))
        .min(1)
        .default(['/opt/cni/bin', '/usr/lib/cni'])
        .register(keyInfo, {
          description: 'Folders in which CNI plugins are looked for, in this order.',
          // CNI_PATH joins them with colons and knows no escape.
          expects: `a list of one or more strings, each ${PATH}, and no ":"`,
          reloadable: true,
        }),
    })
    .prefault({}),
  cgroup: z
    .strictObject({
      driver: z.enum(['cgroupfs', 'systemd']).default('cgroupfs').register(keyInfo, {
        description:
          "Who makes the cgroups of pods: the agent itself, or systemd, with a slice for each pod and a scope for each container. It is what RuntimeConfig tells the kubelet. `systemd` needs systemd as the host's init and cgroup v2 alone. Pods that are there keep what they were made with.",
        expects: '"cgroupfs" or "systemd"',
        reloadable: false,
      }),
    })
    .prefault({}),
  devices: z
    .strictObject({
      enable_cdi: z.boolean().default(true).register(keyInfo, {
        description:
          'Whether containers may name devices that the node describes in CDI files: docs/devices.md.',
        expects: 'true or false',
        reloadable: true,
      }),
      cdi_spec_dirs: z
        .array(path)
        .default(['/etc/cdi', '/var/run/cdi'])
        .register(keyInfo, {
          description:
            'Folders of those files. Of two that describe the same device the one in the later folder counts; folders may be absent.',
          expects: `a list of strings, each ${PATH}`,
          reloadable: true,
        }),
    })
    .prefault({}),
  metrics: z
    .strictObject({
      address: z
        .union([z.literal(''), z.string().refine(isIpAndPort)])
        .default('')
        .register(keyInfo, {
          description:
            'Where `GET /metrics` is answered in the text format of Prometheus, for example `127.0.0.1:9812`; empty turns it off. Whoever reaches the address can read the figures.',
          expects: '"", or IP:PORT, an IPv6 address in brackets',
          reloadable: false,
        }),
    })
    .prefault({}),
  nri: z
    .strictObject({
      enable: z.boolean().default(false).register(keyInfo, {
        description:
          'Whether NRI plugins are called, which may hear of all pods and containers and change the latter: docs/nri.md.',
        expects: BOOLEAN,
        reloadable: false,
      }),
      socket_path: socketPath.default('/var/run/nri/nri.sock').register(keyInfo, {
        description: 'Unix socket that plugins connect to. Who can is as good as root.',
        expects: SOCKET,
        reloadable: false,
      }),
      disable_connections: z.boolean().default(false).register(keyInfo, {
        description:
          'Leaves the socket away: there are no plugins but those that the agent starts by itself.',
        expects: BOOLEAN,
        reloadable: false,
      }),
      plugin_path: path.default('/opt/nri/plugins').register(keyInfo, {
        description:
          'Folder of plugins that the agent starts by itself: programs called `NN-NAME`, with two digits for their place in the order. It may be absent.',
        expects: PATH,
        reloadable: false,
      }),
      plugin_config_path: path.default('/etc/nri/conf.d').register(keyInfo, {
        description:
          'Folder of their configuration: `NN-NAME.conf`, or else `NAME.conf`, is handed to the plugin as it is.',
        expects: PATH,
        reloadable: false,
      }),
      plugin_registration_timeout: duration.default('5s').register(keyInfo, {
        description:
          'How long a plugin that has connected may take to register, and then to look at what there is already.',
        expects: DURATION,
        reloadable: false,
      }),
      plugin_request_timeout: duration.default('2s').register(keyInfo, {
        description:
          'How long a plugin may take over one event. One that takes longer is disconnected, and the pod goes on without it.',
        expects: DURATION,
        reloadable: false,
      }),
      default_validator: z
        .strictObject({
          enable: z.boolean().default(false).register(keyInfo, {
            description:
              'Whether the adjustments of plugins are checked by the rules below before they are made. A container whose adjustments break one is not created.',
            expects: BOOLEAN,
            reloadable: false,
          }),
          reject_oci_hook_adjustment: z.boolean().default(false).register(keyInfo, {
            description: 'Refuses OCI hooks.',
            expects: BOOLEAN,
            reloadable: false,
          }),
          reject_runtime_default_seccomp_adjustment: z.boolean().default(false).register(keyInfo, {
            description: 'Refuses a seccomp policy in place of the default profile.',
            expects: BOOLEAN,
            reloadable: false,
          }),
          reject_unconfined_seccomp_adjustment: z.boolean().default(false).register(keyInfo, {
            description: 'Refuses a seccomp policy for a container that has none.',
            expects: BOOLEAN,
            reloadable: false,
          }),
          reject_custom_seccomp_adjustment: z.boolean().default(false).register(keyInfo, {
            description: 'Refuses a seccomp policy in place of a profile file.',
            expects: BOOLEAN,
            reloadable: false,
          }),
          required_plugins: z.array(z.string()).default([]).register(keyInfo, {
            description:
              'Plugins without which no container is created, by name without the digits. A pod asks for more of them with the annotation `required-plugins.noderesource.dev`, a YAML list.',
            expects: 'a list of strings',
            reloadable: false,
          }),
          tolerate_missing_plugins_annotation: z.string().default('').register(keyInfo, {
            description:
              'Annotation with which a pod, set to `true`, does without the required plugins; empty for none.',
            expects: 'a string',
            reloadable: false,
          }),
        })
        .prefault({}),
    })
    .prefault({}),
});

export type Config = z.infer<typeof configSchema>;

/** Where the admin socket is. */
export function adminSocket(config: { state: string; admin: { socket: string } }): string {
  return config.admin.socket === '' ? `${config.state}/admin.sock` : config.admin.socket;
}

export interface ConfigKey extends KeyInfo {
  /** Dotted, as in `log.level`. */
  path: string;
  default: ConfigValue;
}

export type ConfigValue = string | number | boolean | readonly string[];

/** Every key, in the order of the schema. */
export const configKeys: readonly ConfigKey[] = listKeys();

/** The value of a key; undefined for a path that is no key. */
export function valueAt(config: object, dotted: string): ConfigValue | undefined {
  let value: unknown = config;
  for (const part of dotted.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part))
      return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return value as ConfigValue | undefined;
}

function listKeys(): ConfigKey[] {
  const defaults = configSchema.parse({});
  const keys: ConfigKey[] = [];
  const visit = (schema: z.core.$ZodType, path: string[]): void => {
    const info = keyInfo.get(schema);
    const inner = schema instanceof z.ZodPrefault ? schema.unwrap() : schema;
    if (info !== undefined) {
      const dotted = path.join('.');
      keys.push({ ...info, path: dotted, default: valueAt(defaults, dotted) ?? '' });
    } else if (inner instanceof z.ZodObject) {
      const members = inner.shape as Record<string, z.core.$ZodType>;
      for (const [name, member] of Object.entries(members)) visit(member, [...path, name]);
    } else {
      throw new TypeError(`configuration key ${path.join('.')} has no description`);
    }
  };
  visit(configSchema, []);
  return keys;
}

function isPlainPath(text: string): boolean {
  if (text === '/') return true;
  if (!text.startsWith('/') || hasControlCharacter(text)) return false;
  return text
    .slice(1)
    .split('/')
    .every((part) => part !== '' && part !== '.' && part !== '..');
}

/** Less would not let a container start. */
function isSizeLimit(text: string): boolean {
  const bytes = parseByteSize(text);
  return bytes === 0 || (bytes !== undefined && bytes >= 2 ** 20);
}

/** An ext4 with its journal needs some of it; more than the most it has is of no use. */
function isVolumeSize(text: string): boolean {
  const bytes = parseByteSize(text);
  return bytes !== undefined && bytes >= 64 * 2 ** 20 && bytes <= 16 * 2 ** 40;
}

function isTimeLimit(text: string): boolean {
  const milliseconds = parseGoDuration(text);
  return milliseconds !== undefined && milliseconds >= 100 && milliseconds <= 300_000;
}

function isLoopback(text: string): boolean {
  return (isIP(text) === 4 && text.startsWith('127.')) || text === '::1';
}

function isIpAndPort(text: string): boolean {
  const [, v6, v4, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65535) return false;
  return v6 === undefined ? isIP(v4 ?? '') === 4 : isIP(v6) === 6;
}
