/**
 * Devices by name as the Container Device Interface has them (CDI specification 1.1.0): the files that
 * vendors describe them in, and the names that callers ask for.
 */
import { RuntimeError } from './errors.js';
import {
  asArray,
  asInteger,
  asObject,
  asPairs,
  asString,
  asStrings,
  onlyKeys,
  optional,
  property,
} from './json-shape.js';
import type { Hook, Hooks, MountRestriction, Pairs } from './model.js';
import { requireAbsolutePath } from './text.js';

/** What a device brings into a container. */
export interface CdiEdits {
  env: Pairs;
  deviceNodes: CdiDeviceNode[];
  mounts: CdiMount[];
  additionalGids: number[];
  hooks: Hooks;
}

/** null is for the host's own node to tell. */
export interface CdiDeviceNode {
  path: string;
  hostPath: string;
  numbers: { type: 'block' | 'character'; major: number; minor: number } | null;
  mode: number | null;
  uid: number | null;
  gid: number | null;
  /** Letters of `rwm`. */
  permissions: string;
}

export interface CdiMount {
  source: string;
  target: string;
  readonly: boolean;
  recursiveReadonly: boolean;
  propagation: 'private' | 'slave' | 'shared';
  restrictions: MountRestriction[];
}

/** One file. What pvecri can't do is told when the device is asked for: the file may have others. */
export interface CdiSpec {
  kind: string;
  edits: Unchecked;
  devices: ReadonlyMap<string, Unchecked>;
}

/** Edits in the shape of the file, and the first thing in them that is not supported. */
interface Unchecked {
  edits: CdiEdits;
  unsupported: string | null;
}

export interface CdiFile {
  path: string;
  /** Place of its folder in the configuration: the later one wins. */
  priority: number;
  spec: CdiSpec;
}

const VERSIONS: readonly string[] = [
  ...['0.3.0', '0.4.0', '0.5.0', '0.6.0', '0.7.0', '0.8.0', '1.0.0', '1.1.0'],
];
const MAX_ID = 2 ** 32 - 2;
const VENDOR = /^[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$/;
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;
const ANNOTATION = 'cdi.k8s.io/';

/** Names of the field first, then those of annotations that are not among them. */
export function cdiDeviceNames(fields: readonly string[], annotations: Pairs): string[] {
  for (const name of fields) requireDeviceName('config.cdi_devices', name);
  const names = new Set(fields);
  for (const [key, value] of annotations) {
    if (!key.startsWith(ANNOTATION)) continue;
    for (const name of value.split(',')) names.add(requireDeviceName(`annotation ${key}`, name));
  }
  return [...names];
}

function requireDeviceName(where: string, name: string): string {
  const [, vendor = '', kind = '', device = ''] = /^([^/=]*)\/([^/=]*)=(.*)$/s.exec(name) ?? [];
  if (VENDOR.test(vendor) && VENDOR.test(kind) && NAME.test(device) && name.length <= 512) {
    return name;
  }
  throw new RuntimeError(
    'invalid-argument',
    `${where}: ${JSON.stringify(name.slice(0, 120))} is no name of a CDI device: expected VENDOR/CLASS=NAME such as vendor.com/gpu=0`,
  );
}

/** `where` is the file, for errors. */
export function parseCdiSpec(document: unknown, where: string): CdiSpec {
  const spec = asObject(document, where);
  onlyKeys(spec, ['cdiVersion', 'kind', 'annotations', 'devices', 'containerEdits'], where);
  const version = asString(property(spec, 'cdiVersion'), `${where}.cdiVersion`);
  if (!VERSIONS.includes(version.replace(/^v/, ''))) {
    throw invalid(
      `${where}.cdiVersion ${shown(version)} is not known: known are ${VERSIONS.join(', ')}`,
    );
  }
  const kind = asString(property(spec, 'kind'), `${where}.kind`);
  const [vendor = '', name = '', ...rest] = kind.split('/');
  if (!VENDOR.test(vendor) || !VENDOR.test(name) || rest.length > 0) {
    throw invalid(`${where}.kind ${shown(kind)} is malformed: expected VENDOR/CLASS`);
  }
  optional(spec, 'annotations', where, asPairs, []);
  const devices = new Map<string, Unchecked>();
  for (const [index, item] of asArray(property(spec, 'devices'), `${where}.devices`).entries()) {
    const at = `${where}.devices[${index}]`;
    const device = asObject(item, at);
    onlyKeys(device, ['name', 'annotations', 'containerEdits'], at);
    optional(device, 'annotations', at, asPairs, []);
    const deviceName = asString(property(device, 'name'), `${at}.name`);
    if (!NAME.test(deviceName)) throw invalid(`${at}.name ${shown(deviceName)} is malformed`);
    if (devices.has(deviceName)) throw invalid(`${at}.name ${shown(deviceName)} is there twice`);
    devices.set(deviceName, optional(device, 'containerEdits', at, parseEdits, NOTHING));
  }
  return { kind, devices, edits: optional(spec, 'containerEdits', where, parseEdits, NOTHING) };
}

function noEdits(): CdiEdits {
  const hooks: Hooks = { prestart: [], createRuntime: [], poststart: [], poststop: [] };
  return { env: [], deviceNodes: [], mounts: [], additionalGids: [], hooks };
}

const NOTHING: Unchecked = {
  edits: noEdits(),
  unsupported: null,
};

function parseEdits(value: unknown, where: string): Unchecked {
  const edits = asObject(value, where);
  const keys = [
    'env',
    'deviceNodes',
    'mounts',
    'hooks',
    'additionalGids',
    'intelRdt',
    'netDevices',
  ];
  onlyKeys(edits, keys, where);
  const mounts = optional(edits, 'mounts', where, asArray, []).map((mount, index) =>
    parseMount(mount, `${where}.mounts[${index}]`),
  );
  const hooks = optional(edits, 'hooks', where, asArray, []).map((hook, index) =>
    parseHook(hook, `${where}.hooks[${index}]`),
  );
  const inside = hooks.find(({ name }) => !isHook(name));
  const strange = ['intelRdt', 'netDevices'].find((key) => property(edits, key) !== undefined);
  return {
    edits: {
      env: optional(edits, 'env', where, asStrings, []).map((entry) => parseVariable(entry, where)),
      deviceNodes: optional(edits, 'deviceNodes', where, asArray, []).map((node, index) =>
        parseNode(node, `${where}.deviceNodes[${index}]`),
      ),
      mounts: mounts.map(({ mount }) => mount),
      hooks: hooksByKind(hooks),
      // As the other runtimes do: 0 stands for none.
      additionalGids: optional(edits, 'additionalGids', where, asArray, [])
        .map((gid, index) => Number(asInteger(gid, `${where}.additionalGids[${index}]`, MAX_ID)))
        .filter((gid) => gid !== 0),
    },
    unsupported:
      (inside && `${inside.name} hook ${shown(inside.hook.path)}`) ??
      mounts.find(({ unsupported }) => unsupported !== null)?.unsupported ??
      strange ??
      null,
  };
}

function parseVariable(entry: string, where: string): [string, string] {
  const at = entry.indexOf('=');
  if (at > 0) return [entry.slice(0, at), entry.slice(at + 1)];
  throw invalid(`${where}.env: ${shown(entry)} is malformed: expected KEY=value`);
}

/** Those run on the host, while the container's first process waits or after its start and end. */
const HOOKS = ['prestart', 'createRuntime', 'poststart', 'poststop'] as const;
/** Those run in the container's namespaces before its root is its own: liblxc has no such step. */
const HOOKS_INSIDE: readonly string[] = ['createContainer', 'startContainer'];
const MAX_HOOK_SECONDS = 3600;

function parseHook(value: unknown, where: string): { name: string; hook: Hook } {
  const given = asObject(value, where);
  onlyKeys(given, ['hookName', 'path', 'args', 'env', 'timeout'], where);
  const name = asString(property(given, 'hookName'), `${where}.hookName`);
  if (!isHook(name) && !HOOKS_INSIDE.includes(name)) {
    const known = [...HOOKS, ...HOOKS_INSIDE].join(', ');
    throw invalid(`${where}.hookName ${shown(name)} is not known: known are ${known}`);
  }
  const path = requireAbsolutePath(
    `${where}.path`,
    asString(property(given, 'path'), `${where}.path`),
  );
  const args = optional(given, 'args', where, asStrings, []);
  const timeout = (item: unknown, at: string): number =>
    Number(asInteger(item, at, MAX_HOOK_SECONDS)) * 1000;
  const hook: Hook = {
    path,
    args: args.length === 0 ? [path] : args,
    env: optional(given, 'env', where, asStrings, []),
    timeoutMs: optional(given, 'timeout', where, timeout, 0),
  };
  return { name, hook };
}

function isHook(name: string): name is keyof Hooks {
  return HOOKS.some((each) => each === name);
}

function hooksByKind(hooks: readonly { name: string; hook: Hook }[]): Hooks {
  const sorted = noEdits().hooks;
  for (const { name, hook } of hooks) if (isHook(name)) sorted[name].push(hook);
  return sorted;
}

function parseNode(value: unknown, where: string): CdiDeviceNode {
  const node = asObject(value, where);
  const keys = [
    'path',
    'hostPath',
    'type',
    'major',
    'minor',
    'fileMode',
    'permissions',
    'uid',
    'gid',
  ];
  onlyKeys(node, keys, where);
  const path = requireAbsolutePath(
    `${where}.path`,
    asString(property(node, 'path'), `${where}.path`),
  );
  const id = (item: unknown, at: string): number => Number(asInteger(item, at, MAX_ID));
  const number = (key: string, most: number): number =>
    Number(optional(node, key, where, (item, at) => asInteger(item, at, most), 0n));
  const type = optional(node, 'type', where, asString, '');
  const permissions = optional(node, 'permissions', where, asString, '') || 'rwm';
  if (!/^[rwm]+$/.test(permissions)) {
    throw invalid(`${where}.permissions ${shown(permissions)} are malformed: expected r, w and m`);
  }
  if (!['', 'b', 'c', 'u'].includes(type)) {
    throw invalid(`${where}.type ${shown(type)} is no device: expected b, c or u`);
  }
  // As the reference implementation has it: without a major number the host's own node tells.
  const [major, minor] = [number('major', 0xfff), number('minor', 0xfffff)];
  return {
    path,
    hostPath: requireAbsolutePath(
      `${where}.hostPath`,
      optional(node, 'hostPath', where, asString, '') || path,
    ),
    numbers:
      type === '' || major === 0
        ? null
        : { type: type === 'b' ? 'block' : 'character', major, minor },
    mode: optional<number | null>(
      node,
      'fileMode',
      where,
      (item, at) => {
        return Number(asInteger(item, at, 0o177777)) & 0o777;
      },
      null,
    ),
    uid: optional<number | null>(node, 'uid', where, id, null),
    gid: optional<number | null>(node, 'gid', where, id, null),
    permissions,
  };
}

const PROPAGATION: ReadonlyMap<string, CdiMount['propagation']> = new Map([
  ['private', 'private'],
  ['rprivate', 'private'],
  ['slave', 'slave'],
  ['rslave', 'slave'],
  ['shared', 'shared'],
  ['rshared', 'shared'],
]);
const RESTRICTIONS: readonly string[] = ['nosuid', 'nodev', 'noexec'] satisfies MountRestriction[];

function parseMount(
  value: unknown,
  where: string,
): { mount: CdiMount; unsupported: string | null } {
  const given = asObject(value, where);
  onlyKeys(given, ['hostPath', 'containerPath', 'options', 'type'], where);
  const path = (key: string): string =>
    requireAbsolutePath(`${where}.${key}`, asString(property(given, key), `${where}.${key}`));
  const mount: CdiMount = {
    ...{ source: path('hostPath'), target: path('containerPath') },
    ...{ readonly: false, recursiveReadonly: false, propagation: 'private', restrictions: [] },
  };
  const type = optional(given, 'type', where, asString, '');
  let unsupported: string | null = null;
  if (!['', 'none', 'bind'].includes(type)) {
    unsupported = `mount of ${mount.target}: type ${shown(type)}`;
  }
  for (const option of optional(given, 'options', where, asStrings, [])) {
    const propagation = PROPAGATION.get(option);
    if (propagation !== undefined) mount.propagation = propagation;
    else if (option === 'ro') mount.readonly = true;
    else if (option === 'rro') mount.readonly = mount.recursiveReadonly = true;
    else if (isRestriction(option)) mount.restrictions.push(option);
    else if (!['rw', 'bind', 'rbind'].includes(option)) {
      unsupported ??= `mount of ${mount.target}: option ${shown(option)}`;
    }
  }
  if (mount.recursiveReadonly && mount.propagation !== 'private') {
    throw invalid(`${where}.options: rro needs private propagation`);
  }
  return { mount, unsupported };
}

function isRestriction(option: string): option is MountRestriction {
  return RESTRICTIONS.includes(option);
}

/**
 * What the devices bring together, in the order in which they are named; what a file says for all its
 * devices comes once, before the first. `broken` tells of files that could not be read.
 */
export function resolveCdiDevices(
  names: readonly string[],
  files: readonly CdiFile[],
  folders: readonly string[],
  broken: readonly string[],
): CdiEdits {
  const sum = noEdits();
  const used = new Set<CdiFile>();
  const add = (what: string, { edits, unsupported }: Unchecked): void => {
    if (unsupported !== null) {
      throw new RuntimeError(
        'unimplemented',
        `${what} brings ${unsupported}, which pvecri does not support`,
      );
    }
    sum.env.push(...edits.env);
    sum.deviceNodes.push(...edits.deviceNodes);
    sum.mounts.push(...edits.mounts);
    sum.additionalGids.push(...edits.additionalGids);
    for (const kind of HOOKS) sum.hooks[kind].push(...edits.hooks[kind]);
  };
  for (const name of names) {
    const { file, edits } = findDevice(name, files, folders, broken);
    const what = `CDI device ${name} of ${file.path}`;
    if (!used.has(file)) add(what, file.spec.edits);
    used.add(file);
    add(what, edits);
  }
  return sum;
}

function findDevice(
  name: string,
  files: readonly CdiFile[],
  folders: readonly string[],
  broken: readonly string[],
): { file: CdiFile; edits: Unchecked } {
  const [kind = '', device = ''] = name.split('=');
  const found = files.flatMap((file) => {
    const edits = file.spec.kind === kind ? file.spec.devices.get(device) : undefined;
    return edits === undefined ? [] : [{ file, edits }];
  });
  const highest = Math.max(...found.map(({ file }) => file.priority));
  const [first, second] = found.filter(({ file }) => file.priority === highest);
  if (first === undefined) {
    const unreadable = broken.length === 0 ? '' : `; not read: ${broken.slice(0, 3).join('; ')}`;
    throw new RuntimeError(
      'not-found',
      `CDI device ${name} is in no file of ${folders.join(', ')}: install what describes it there${unreadable}`,
    );
  }
  if (second !== undefined) {
    throw new RuntimeError(
      'failed-precondition',
      `CDI device ${name} is in both ${first.file.path} and ${second.file.path}: remove one of them`,
    );
  }
  return first;
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 120));
}

function invalid(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}
