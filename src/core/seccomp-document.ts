/**
 * Seccomp profile files, as the OCI runtime specification and docker word them. Both are read: docker's
 * may say on which capabilities, architectures and kernels a rule depends.
 */
import { constants } from 'node:os';
import { capabilityNumber } from './capabilities.js';
import { RuntimeError } from './errors.js';
import {
  asArray,
  asInteger,
  asObject,
  asString,
  asStrings,
  optional,
  property,
  type JsonObject,
} from './json-shape.js';
import {
  foreignArchitectures,
  SECCOMP_FLAGS,
  type SeccompAction,
  type SeccompActionName,
  type SeccompCondition,
  type SeccompProfile,
  type SeccompRule,
} from './seccomp-rules.js';
import { parseStrictJson } from './strict-json.js';

export const MAX_SECCOMP_BYTES = 1 << 20;
/**
 * docker's default names 500 calls, a dozen of them with conditions. libseccomp takes 20 ms for 900, 50 ms
 * for 200 with conditions, and then the more the longer each, while the agent waits.
 */
const MOST_NAMES = 2048;
const MOST_CONDITIONAL = 256;
/** libseccomp takes one less than the kernel. */
const MAX_ERRNO = 4094;

/** What a file's conditions are compared with. */
export interface SeccompHost {
  /** As Node names it: `x64`. */
  machine: string;
  /** Release of the kernel: `6.12.1-1-pve`. */
  kernel: string;
  /** Numbers of those the container has. */
  capabilities: readonly number[];
}

export interface SeccompDocument {
  profile: SeccompProfile;
  /** SECCOMP_FILTER_FLAG_*. */
  flags: number;
}

const ACTIONS: ReadonlyMap<string, SeccompActionName> = new Map([
  ['SCMP_ACT_ALLOW', 'allow'],
  ['SCMP_ACT_ERRNO', 'errno'],
  ['SCMP_ACT_KILL', 'kill-thread'],
  ['SCMP_ACT_KILL_THREAD', 'kill-thread'],
  ['SCMP_ACT_KILL_PROCESS', 'kill-process'],
  ['SCMP_ACT_LOG', 'log'],
  ['SCMP_ACT_TRACE', 'trace'],
  ['SCMP_ACT_TRAP', 'trap'],
]);

const OPERATORS: ReadonlyMap<string, SeccompCondition['op']> = new Map([
  ['SCMP_CMP_EQ', 'eq'],
  ['SCMP_CMP_NE', 'ne'],
  ['SCMP_CMP_LT', 'lt'],
  ['SCMP_CMP_LE', 'le'],
  ['SCMP_CMP_GT', 'gt'],
  ['SCMP_CMP_GE', 'ge'],
  ['SCMP_CMP_MASKED_EQ', 'masked-eq'],
]);

/** Node's and Go's names of the machines; docker's conditions use Go's. */
const MACHINES: ReadonlyMap<string, { go: string; native: string }> = new Map([
  ['x64', { go: 'amd64', native: 'SCMP_ARCH_X86_64' }],
  ['arm64', { go: 'arm64', native: 'SCMP_ARCH_AARCH64' }],
]);

const ARCHITECTURES: ReadonlySet<string> = new Set(
  `X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390
  S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB`
    .split(/\s+/)
    .map((name) => `SCMP_ARCH_${name}`),
);

/** Reads a profile file, named `what` in errors. Nothing in it is passed over in silence. */
export function parseSeccompDocument(
  bytes: Uint8Array,
  what: string,
  host: SeccompHost,
): SeccompDocument {
  const document = asObject(
    parseStrictJson(bytes, what, MAX_SECCOMP_BYTES, { largeIntegers: true }),
    what,
  );
  refuseNotifier(document, what);
  requireKnown(document, what, [
    'defaultAction',
    'defaultErrnoRet',
    'defaultErrno',
    'architectures',
    'archMap',
    'flags',
    'syscalls',
  ]);
  if (property(document, 'defaultAction') === undefined) {
    throw refused(`${what}.defaultAction is missing: name what a call gets that no rule is about`);
  }
  const seen = { names: 0, conditional: 0 };
  const rules = optional(document, 'syscalls', what, asArray, []).flatMap((item, index) => {
    return readRule(item, `${what}.syscalls[${index}]`, host, seen);
  });
  return {
    profile: {
      fallback: readAction(document, what, 'defaultAction', 'defaultErrnoRet', 'defaultErrno'),
      architectures: readArchitectures(document, what, host),
      rules,
    },
    flags: readFlags(document, what),
  };
}

function refuseNotifier(document: JsonObject, what: string): void {
  for (const key of ['listenerPath', 'listenerMetadata']) {
    if (optional(document, key, what, asString, '') !== '') {
      throw unsupported(`${what}.${key}`, 'a seccomp notifier');
    }
  }
}

function readAction(
  object: JsonObject,
  where: string,
  actionKey: string,
  numberKey: string,
  nameKey: string,
): SeccompAction {
  const name = optional(object, actionKey, where, asString, '');
  if (name === 'SCMP_ACT_NOTIFY') {
    throw unsupported(`${where}.${actionKey} ${name}`, 'a seccomp notifier');
  }
  const action = ACTIONS.get(name);
  if (action === undefined) throw unknown(`${where}.${actionKey}`, name, [...ACTIONS.keys()]);
  const errno = readErrno(object, where, numberKey, nameKey);
  if (errno === undefined) return { action };
  // The specification: an error where the action has no use for it.
  if (action !== 'errno' && action !== 'trace') {
    throw refused(`${where}.${numberKey} is given, but ${name} has no use for it: take it out`);
  }
  return { action, errno };
}

function readErrno(
  object: JsonObject,
  where: string,
  numberKey: string,
  nameKey: string,
): number | undefined {
  const number = property(object, numberKey);
  const named = optional(object, nameKey, where, asString, '');
  const byNumber =
    number === undefined
      ? undefined
      : Number(asInteger(number, `${where}.${numberKey}`, MAX_ERRNO));
  if (named === '') return byNumber;
  const byName: number | undefined = new Map(Object.entries(constants.errno)).get(named);
  if (byName === undefined) throw unknown(`${where}.${nameKey}`, named, ['EPERM', 'ENOSYS']);
  if (byNumber !== undefined && byNumber !== byName) {
    throw refused(
      `${where}.${nameKey} ${named} is ${byName}, but ${numberKey} is ${byNumber}: give one of them`,
    );
  }
  return byName;
}

/** Those that the machine runs: a process of another can't exist, and costs a part of the filter. */
function readArchitectures(document: JsonObject, what: string, host: SeccompHost): string[] {
  const listed = optional(document, 'architectures', what, asStrings, []);
  const mapped = optional(document, 'archMap', what, asArray, []);
  if (listed.length > 0 && mapped.length > 0) {
    throw refused(`${what} has architectures and archMap: give one of them`);
  }
  const wanted = new Set(listed);
  for (const name of listed) requireArchitecture(name, `${what}.architectures`);
  for (const [index, item] of mapped.entries()) {
    const where = `${what}.archMap[${index}]`;
    const entry = asObject(item, where);
    requireKnown(entry, where, ['architecture', 'subArchitectures']);
    const architecture = optional(entry, 'architecture', where, asString, '');
    requireArchitecture(architecture, `${where}.architecture`);
    const below = optional(entry, 'subArchitectures', where, asStrings, []);
    for (const name of below) requireArchitecture(name, `${where}.subArchitectures`);
    if (architecture !== MACHINES.get(host.machine)?.native) continue;
    for (const name of below) wanted.add(name);
  }
  return foreignArchitectures(host.machine).filter((name) =>
    wanted.has(`SCMP_ARCH_${name.toUpperCase()}`),
  );
}

function requireArchitecture(name: string, where: string): void {
  if (!ARCHITECTURES.has(name)) {
    throw unknown(where, name, ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32']);
  }
}

function readFlags(document: JsonObject, what: string): number {
  let flags = 0;
  for (const name of optional(document, 'flags', what, asStrings, [])) {
    if (name === 'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV') {
      throw unsupported(`${what}.flags ${name}`, 'a seccomp notifier');
    }
    const known = Object.entries(SECCOMP_FLAGS).find(
      ([flag]) => name === `SECCOMP_FILTER_FLAG_${flag}`,
    );
    if (known === undefined) {
      const names = Object.keys(SECCOMP_FLAGS).map((flag) => `SECCOMP_FILTER_FLAG_${flag}`);
      throw unknown(`${what}.flags`, name, names);
    }
    flags |= known[1];
  }
  return flags;
}

function readRule(
  item: unknown,
  where: string,
  host: SeccompHost,
  seen: { names: number; conditional: number },
): SeccompRule[] {
  const rule = asObject(item, where);
  requireKnown(rule, where, [
    'name',
    'names',
    'action',
    'errnoRet',
    'errno',
    'args',
    'comment',
    'includes',
    'excludes',
  ]);
  const names = readNames(rule, where);
  const action = readAction(rule, where, 'action', 'errnoRet', 'errno');
  const args = optional(rule, 'args', where, asArray, []).map((each, index) =>
    readCondition(each, `${where}.args[${index}]`),
  );
  seen.names += names.length;
  if (args.length > 0) seen.conditional += names.length;
  if (seen.names > MOST_NAMES || seen.conditional > MOST_CONDITIONAL) {
    throw refused(
      `${where} is too much: a profile may name ${MOST_NAMES} system calls in all, ${MOST_CONDITIONAL} of them with args`,
    );
  }
  const twice = args.find((one, at) => args.findIndex(({ index }) => index === one.index) < at);
  if (twice !== undefined) {
    throw refused(
      `${where}.args compares argument ${twice.index} twice, and libseccomp once at most: write two rules for "or"`,
    );
  }
  const isIncluded = readFilter(rule, 'includes', where, host).every(([, holds]) => holds);
  const isExcluded = readFilter(rule, 'excludes', where, host).some(([, holds]) => holds);
  if (!isIncluded || isExcluded) return [];
  return [{ names, ...action, ...(args.length > 0 && { args }) }];
}

function readNames(rule: JsonObject, where: string): string[] {
  const name = optional(rule, 'name', where, asString, '');
  const names = optional(rule, 'names', where, asStrings, []);
  if (name !== '' && names.length > 0) {
    throw refused(`${where} has name and names: give one of them`);
  }
  const all = name === '' ? names : [name];
  if (all.length === 0) throw refused(`${where}.names is empty: name a system call`);
  for (const each of all) {
    if (!/^[a-zA-Z0-9_]{1,64}$/.test(each)) {
      throw refused(`${where}.names has ${quote(each)}, which is no name of a system call`);
    }
  }
  return all;
}

function readCondition(item: unknown, where: string): SeccompCondition {
  const condition = asObject(item, where);
  requireKnown(condition, where, ['index', 'value', 'valueTwo', 'op']);
  const name = optional(condition, 'op', where, asString, '');
  const op = OPERATORS.get(name);
  if (op === undefined) throw unknown(`${where}.op`, name, [...OPERATORS.keys()]);
  const number = (key: string, most: bigint | number): bigint =>
    optional(condition, key, where, (value, at) => asInteger(value, at, most), 0n);
  const index = Number(number('index', 5));
  const value = number('value', 2n ** 64n - 1n);
  const second = number('valueTwo', 2n ** 64n - 1n);
  // The specification: (argument & value) == valueTwo.
  if (op === 'masked-eq') return { index, op, mask: value, value: second };
  return { index, op, value };
}

/** docker's conditions: every one that is named, and whether it holds here. */
function readFilter(
  rule: JsonObject,
  key: 'includes' | 'excludes',
  where: string,
  host: SeccompHost,
): [what: string, holds: boolean][] {
  const filter = property(rule, key);
  if (filter === undefined) return [];
  const at = `${where}.${key}`;
  const object = asObject(filter, at);
  requireKnown(object, at, ['arches', 'caps', 'minKernel']);
  const conditions: [string, boolean][] = [];
  const arches = optional(object, 'arches', at, asStrings, []);
  if (arches.length > 0) {
    conditions.push(['arches', arches.includes(MACHINES.get(host.machine)?.go ?? '')]);
  }
  for (const name of optional(object, 'caps', at, asStrings, [])) {
    const capability = capabilityNumber(name);
    if (capability === undefined) throw unknown(`${at}.caps`, name, ['CAP_SYS_ADMIN']);
    conditions.push([name, host.capabilities.includes(capability)]);
  }
  const least = optional(object, 'minKernel', at, asString, '');
  if (least !== '') conditions.push(['minKernel', isAtLeast(host.kernel, least, at)]);
  return conditions;
}

function isAtLeast(kernel: string, least: string, where: string): boolean {
  const wanted = /^(\d{1,6})\.(\d{1,6})$/.exec(least);
  if (wanted === null) throw unknown(`${where}.minKernel`, least, ['4.8']);
  const own = /^(\d+)\.(\d+)/.exec(kernel);
  const [major, minor] = [Number(own?.[1] ?? 0), Number(own?.[2] ?? 0)];
  const [leastMajor, leastMinor] = [Number(wanted[1]), Number(wanted[2])];
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}

function requireKnown(object: JsonObject, where: string, known: readonly string[]): void {
  for (const key of Object.keys(object)) {
    // Go leaves out an empty one or writes null, so null and '' say nothing.
    if (property(object, key) === undefined || object[key] === '') continue;
    if (!known.includes(key)) {
      throw refused(
        `${where} has field ${quote(key)}, which is unknown: known are ${known.join(', ')}`,
      );
    }
  }
}

function unknown(where: string, value: string, known: readonly string[]): RuntimeError {
  return refused(`${where} ${quote(value)} is unknown: expected for instance ${known.join(', ')}`);
}

function unsupported(where: string, feature: string): RuntimeError {
  return new RuntimeError(
    'unimplemented',
    `${where}: ${feature} is not supported: use a profile without one`,
  );
}

function refused(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
