/** Which seccomp filter the processes of a container run under: its first one, and every exec. */
import { wrap } from '../core/errors.js';
import type { ContainerRecord } from '../core/model.js';
import { MAX_SECCOMP_BYTES, parseSeccompDocument } from '../core/seccomp-document.js';
import { defaultSeccompProfile } from '../core/seccomp-profile.js';
import { localhostProfile } from '../core/security-profile.js';
import type { RuntimeContext } from './context.js';

/** The compiled filter of a profile file, in the container's persistent folder. */
const FILTER_FILE = 'seccomp';

type Confined = Pick<ContainerRecord, 'seccompProfile' | 'process'>;

/** The filter of a new container; reads its profile file. A `policy` of plugins stands above the profile. */
export async function planFilter(
  context: RuntimeContext,
  record: Confined,
  policy: string | null = null,
): Promise<{ program: Uint8Array | null; flags: number }> {
  if (policy !== null) {
    return compile(context, record, Buffer.from(policy), 'the seccomp policy of NRI plugins');
  }
  const path = localhostProfile(record.seccompProfile);
  if (path === undefined) return { program: builtInFilter(context, record), flags: 0 };
  const what = `seccomp profile ${path}`;
  const bytes = await context.host.readHostFile('seccomp profile', path, MAX_SECCOMP_BYTES);
  return compile(context, record, bytes, what);
}

function compile(
  context: RuntimeContext,
  record: Confined,
  bytes: Uint8Array,
  what: string,
): { program: Uint8Array; flags: number } {
  const { profile, flags } = parseSeccompDocument(bytes, what, {
    machine: process.arch,
    kernel: context.host.kernel,
    capabilities: record.process.capabilities,
  });
  try {
    return { program: context.host.compileSeccomp(profile), flags };
  } catch (error) {
    throw wrap(error, `${what} cannot be compiled`, 'invalid-argument');
  }
}

/** Keeps what `planFilter` made of a file: by the time of an exec the file may be another. */
export async function keepFilter(
  context: RuntimeContext,
  record: ContainerRecord,
  program: Uint8Array | null,
): Promise<void> {
  if (program === null || !isOwn(record)) return;
  await context.folders.writeContainerFile(record.id, FILTER_FILE, program);
}

/** The filter of a container that is there, also for a later life of the agent. */
export async function filterForExec(
  context: RuntimeContext,
  record: ContainerRecord,
): Promise<Uint8Array | null> {
  return isOwn(record)
    ? context.folders.readContainerFile(record.id, FILTER_FILE)
    : builtInFilter(context, record);
}

/** Not one that can be compiled again any time. */
function isOwn({ plugins, seccompProfile }: ContainerRecord): boolean {
  return plugins?.seccomp === true || localhostProfile(seccompProfile) !== undefined;
}

function builtInFilter(context: RuntimeContext, record: Confined): Uint8Array | null {
  return record.seccompProfile === 'unconfined'
    ? null
    : context.host.compileSeccomp(defaultSeccompProfile(record.process.capabilities));
}
