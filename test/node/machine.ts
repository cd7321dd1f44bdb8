/** The test node as a running virtual machine: booted or brought back from a saved one, and ended. */
import { spawn, type ChildProcess } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Image } from './image.js';
import { hardwareHash, qemuArguments, type Accelerator, type Hardware } from './hardware.js';
import { Qmp } from './qmp.js';
import { openConnection, outputOf, waitForGreeting, type Address } from './remote.js';
import { run, say, timed } from './steps.js';

/** Where it runs, as the pid file has it. */
export interface Machine extends Address {
  pid: number;
  accelerator: Accelerator;
  /** Sockets and console; its name is in the arguments of the process. */
  folder: string;
}

/** An emulated machine as it was after its first boot: its disk's changes and its memory. */
interface Saved {
  folder: string;
  disk: string;
  memory: string;
}

interface StartOptions extends Hardware {
  /** The pid file. */
  record: string;
  /** Ends with this process, even when that is killed. */
  isBound: boolean;
}

const BOOT_LIMIT_MS = { kvm: 40_000, tcg: 600_000 };
const RESTORE_LIMIT_MS = 120_000;

/** Starts a machine by the fastest way there is. `prepare` changes a booted one before it is saved. */
export async function startMachine(
  image: Image,
  record: string,
  isBound: boolean,
  preparation: { key: string; prepare: (machine: Machine) => void },
): Promise<Machine> {
  await endRecorded(record);
  const options = { image, record, isBound };
  if (hasKvm()) {
    try {
      const machine = await timed('booting by KVM', () => boot({ ...options, accelerator: 'kvm' }));
      preparation.prepare(machine);
      return machine;
    } catch (error) {
      say(`KVM does not work here, so the machine is emulated: ${firstLine(error)}`);
    }
  }
  const saved = savedOf(join(image.folder, `saved-${preparation.key}-${hardwareHash()}`));
  if (!existsSync(saved.folder)) await save(options, saved, preparation.prepare);
  try {
    return await timed('bringing back the saved machine', () => restore(options, saved));
  } catch (error) {
    say(`the saved machine is of no use: ${firstLine(error)}`);
    rmSync(saved.folder, { recursive: true, force: true });
  }
  const machine = await timed('booting', () => boot({ ...options, accelerator: 'tcg' }));
  preparation.prepare(machine);
  return machine;
}

/** The machine of a pid file, if it runs. */
export function runningMachine(record: string): Machine | undefined {
  if (!existsSync(record)) return undefined;
  const machine = JSON.parse(readFileSync(record, 'utf8')) as Machine;
  return isOurs(machine) ? machine : undefined;
}

/** Ends the machine of a pid file, also one that a killed run has left. */
export async function endRecorded(record: string): Promise<void> {
  if (!existsSync(record)) return;
  const machine = JSON.parse(readFileSync(record, 'utf8')) as Machine;
  if (isOurs(machine)) process.kill(machine.pid, 'SIGKILL');
  for (let i = 0; isOurs(machine) && i < 500; i += 1) await sleep(20);
  rmSync(machine.folder, { recursive: true, force: true });
  rmSync(record, { force: true });
}

/** The pid is of this very machine, not of a process that has it now. */
function isOurs({ pid, folder }: Machine): boolean {
  try {
    return (
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`${folder}/`) &&
      !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
    );
  } catch {
    return false;
  }
}

async function boot(options: StartOptions): Promise<Machine> {
  return launch(options, async (machine) => {
    const limit = BOOT_LIMIT_MS[options.accelerator];
    if (!(await waitForGreeting(machine.port, limit, () => isOurs(machine)))) {
      throw new Error(isOurs(machine) ? `no ssh within ${limit / 1000} s` : 'qemu gave up');
    }
  });
}

async function restore(options: Omit<StartOptions, 'accelerator'>, saved: Saved): Promise<Machine> {
  const from = { disk: saved.disk, memory: saved.memory };
  return launch({ ...options, ...from, accelerator: 'tcg' }, async (machine) => {
    const qmp = await Qmp.open(join(machine.folder, 'qmp'));
    await qmp.until('query-status', 'paused', RESTORE_LIMIT_MS);
    await qmp.execute('cont');
    qmp.close();
    if (!(await waitForGreeting(machine.port, RESTORE_LIMIT_MS, () => isOurs(machine)))) {
      throw new Error('no ssh after it was brought back');
    }
  });
}

/** Boots one with a disk of its own, prepares it and writes down disk and memory. */
async function save(
  options: Omit<StartOptions, 'accelerator'>,
  saved: Saved,
  prepare: (machine: Machine) => void,
): Promise<void> {
  const unfinished = savedOf(mkdtempSync(join(options.image.folder, '.saving-')));
  try {
    const backing = ['-F', 'raw', '-b', '../disk.img'];
    run('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, unfinished.disk]);
    const machine = await timed('booting', () =>
      boot({ ...options, accelerator: 'tcg', disk: unfinished.disk }),
    );
    prepare(machine);
    await timed('saving the booted machine', async () => {
      outputOf(machine, 'sync; echo 1 > /proc/sys/vm/drop_caches; fstrim / || true');
      const qmp = await Qmp.open(join(machine.folder, 'qmp'));
      await qmp.execute('stop');
      // As fast as it can: nobody waits for the machine meanwhile.
      await qmp.execute('migrate-set-parameters', { 'max-bandwidth': 0x7fff_ffff_ffff });
      await qmp.execute('migrate', { uri: `exec:zstd -1 -q -T0 -f -o '${unfinished.memory}'` });
      await qmp.until('query-migrate', 'completed', 600_000);
      qmp.close();
      await endRecorded(options.record);
    });
    renameSync(unfinished.folder, saved.folder);
  } catch (error) {
    await endRecorded(options.record);
    // Another run may have saved the same meanwhile.
    if (!existsSync(saved.folder)) throw error;
  } finally {
    rmSync(unfinished.folder, { recursive: true, force: true });
  }
}

/** Spawns QEMU, waits as told, connects. What fails leaves nothing. */
async function launch(
  options: StartOptions,
  ready: (machine: Machine) => Promise<void>,
): Promise<Machine> {
  const folder = mkdtempSync(join(tmpdir(), 'pvecri-node-'));
  const port = await freePort();
  const log = openSync(join(folder, 'qemu.log'), 'w');
  const qemu = ['qemu-system-x86_64', ...qemuArguments(options, folder, port)];
  const bound = options.isBound ? ['setpriv', '--pdeathsig', 'KILL'] : [];
  const [program = '', ...args] = [...bound, ...qemu];
  const child = spawn(program, args, {
    stdio: ['ignore', log, log],
    detached: true,
    env: { ...process.env, TMPDIR: '/var/tmp' },
  });
  closeSync(log);
  child.unref();
  const { accelerator, image } = options;
  const control = join(folder, 'ssh');
  const machine = { pid: child.pid ?? 0, accelerator, folder, port, key: image.key, control };
  mkdirSync(join(options.record, '..'), { recursive: true });
  writeFileSync(options.record, JSON.stringify(machine));
  try {
    await hasSocket(child, join(folder, 'qmp'));
    await ready(machine);
    await openConnection(machine);
    // A machine that was saved has the time of then.
    outputOf(machine, `date -u -s @${(Date.now() / 1000).toFixed(3)} > /dev/null`);
    return machine;
  } catch (error) {
    const told = ['qemu.log', 'console']
      .filter((name) => existsSync(join(folder, name)))
      .map((name) => readFileSync(join(folder, name), 'utf8').trim().slice(-2000));
    await endRecorded(options.record);
    throw new Error([firstLine(error), ...told].join('\n').trim(), { cause: error });
  }
}

async function hasSocket(child: ChildProcess, path: string): Promise<void> {
  const end = Date.now() + 30_000;
  let failure = '';
  child.once('error', (error) => (failure = error.message));
  while (!existsSync(path)) {
    if (child.exitCode !== null || child.signalCode !== null || failure !== '') {
      throw new Error(`qemu ended at once: ${failure || (child.exitCode ?? child.signalCode)}`);
    }
    if (Date.now() > end) throw new Error('qemu does not start');
    await sleep(20);
  }
}

function savedOf(folder: string): Saved {
  return { folder, disk: join(folder, 'disk.qcow2'), memory: join(folder, 'memory.zst') };
}

function hasKvm(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return statSync('/dev/kvm').isCharacterDevice();
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
}
