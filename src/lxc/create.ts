/** Creation of one container: spawn of its shim, and what the shim says when the held init stands. */
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { buildLxcConfig } from '../core/lxc-config.js';
import type { ContainerSpec } from '../core/model.js';
import { encodeShimSpec, failureOf, Message } from '../core/shim-spec.js';
import type { ProcessSpawner, SpawnedProcess } from '../native/process.js';
import { killLeaf, removeLeaf } from './leaf-cgroup.js';
import { nativeError } from './native-failure.js';
import type { NativePrograms } from './native-programs.js';
import { PipeReader } from './pipe-reader.js';

const CREATE_MS = 60_000;
const SIGKILL = 9;
const MAX_ANSWER = 64 * 1024;

export interface CreateContext {
  spawner: ProcessSpawner;
  programs: NativePrograms;
  cgroupRoot: string;
  appArmor: boolean;
}

export async function createContainer(
  context: CreateContext,
  spec: ContainerSpec,
  rootfs: number,
): Promise<void> {
  const subject = `container ${spec.id}`;
  const config = buildLxcConfig(spec, { appArmor: context.appArmor });
  const message = encodeShimSpec(withOomScore(spec), context.cgroupRoot);
  try {
    await writeFile(join(spec.runDirectory, 'config'), config, { mode: 0o600 });
  } catch (error) {
    throw wrap(error, `${subject}: cannot write its liblxc configuration`);
  }
  const { shim, ready } = await spawnShim(context, spec, message, rootfs);
  const answer = new PipeReader(ready, MAX_ANSWER);
  const timer = setTimeout(() => {
    // The monitor and the held init die with it.
    killShim(context, shim);
  }, CREATE_MS);
  try {
    await answer.ended;
    const outcome = new Message(answer.content());
    const failure = failureOf(outcome);
    if (failure === undefined && answer.content().length > 0) return;
    await shim.exited;
    if (failure !== undefined)
      throw nativeError(
        subject,
        failure,
        failure.step === 'liblxc' ? await lastError(spec.runDirectory) : '',
      );
    await removeLeaves(context.cgroupRoot, spec);
    throw new RuntimeError(
      'internal',
      `${subject}: its shim died during creation: ${await lastError(spec.runDirectory)}`,
    );
  } finally {
    clearTimeout(timer);
    answer.close();
    closeSync(shim.pidfd);
  }
}

/** In the order in which the shim is told of them. */
export function mountDescriptors({ mounts }: ContainerSpec): number[] {
  return mounts.flatMap(({ mounted }) => (mounted === undefined ? [] : [mounted]));
}

function killShim(context: CreateContext, shim: SpawnedProcess): void {
  try {
    context.spawner.addon.pidfdSignal(shim.pidfd, SIGKILL);
  } catch (error) {
    // It ended by itself in this very moment.
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

async function spawnShim(
  context: CreateContext,
  spec: ContainerSpec,
  message: Buffer,
  rootfs: number,
): Promise<{ shim: SpawnedProcess; ready: number }> {
  const { addon } = context.spawner;
  const open: number[] = [];
  const own = (fd: number): number => {
    open.push(fd);
    return fd;
  };
  try {
    const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW, O_RDONLY, O_DIRECTORY } = constants;
    const log = own(
      openSync(
        join(spec.runDirectory, 'shim.log'),
        O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW,
        0o600,
      ),
    );
    const cgroup = own(
      openSync(join(context.cgroupRoot, spec.cgroup.shim), O_RDONLY | O_DIRECTORY),
    );
    const specFile = own(addon.memfd('pvecri-spec', message));
    const ready = addon.pipe();
    own(ready.write);
    try {
      const shim = await context.spawner.spawn({
        file: context.programs.shim,
        argv: ['pvecri-shim', spec.id],
        env: [],
        fds: [
          -1,
          log,
          log,
          rootfs,
          specFile,
          ready.write,
          context.programs.sealed('pvecri-init'),
          ...mountDescriptors(spec),
        ],
        cgroupFd: cgroup,
      });
      return { shim, ready: ready.read };
    } catch (error) {
      closeSync(ready.read);
      throw error;
    }
  } catch (error) {
    throw wrap(error, `container ${spec.id}: cannot start its shim`);
  } finally {
    for (const fd of open) closeSync(fd);
  }
}

/** The shim lowers its own score, so "what the agent has" must be said in figures. */
function withOomScore(spec: ContainerSpec): ContainerSpec {
  if (spec.process.oomScoreAdj !== null) return spec;
  const oomScoreAdj = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
  return { ...spec, process: { ...spec.process, oomScoreAdj } };
}

/** The reason liblxc or the monitor wrote down last. */
async function lastError(runDirectory: string): Promise<string> {
  try {
    const text = await readFile(join(runDirectory, 'shim.log'), 'utf8');
    const lines = text.split('\n').filter((line) => line.includes('ERROR'));
    // liblxc's first complaint names the cause, the later ones only who passed it on.
    return lines[0]?.replace(/^.*ERROR\s+/, '').trim() ?? 'no reason in shim.log';
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 'no shim.log';
    throw error;
  }
}

/**
 * A shim that was killed could not clean up. Its monitor died with it, but liblxc's child has a moment
 * in which it waits, without a death signal, for a message that it keeps from ending itself.
 */
async function removeLeaves(cgroupRoot: string, { cgroup }: ContainerSpec): Promise<void> {
  // With shared namespaces the child starts in the monitor's cgroup.
  for (const path of [cgroup.outer, cgroup.monitor]) await killLeaf(join(cgroupRoot, path));
  for (const path of [`${cgroup.outer}/lxc`, cgroup.monitor])
    await removeLeaf(join(cgroupRoot, path));
}
