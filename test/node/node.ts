/** The command of scripts/node. */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ensureImage, missingOnHost, type Image } from './image.js';
import { endRecorded, runningMachine, startMachine, type Machine } from './machine.js';
import { isConnected, openConnection, outputOf, quoted, remoteCommand } from './remote.js';
import { SPECS, ZFS_SPECS } from './specs.js';
import { say, timed } from './steps.js';
import { packagesHash, PROJECT, sendPackages, sendProject } from './tree.js';
import { sendZfs, WANTS_ZFS } from './zfs.js';

const USAGE = `usage: scripts/node COMMAND
A Debian 13 with systemd, cgroup v2 and AppArmor in a virtual machine, for tests.
  shell              a shell on it
  run CMD [ARG...]   runs a command on it
  test [SPEC...]     builds, sends the project, runs these test files there, or those of the tier
  sync               builds and sends the project to ${PROJECT}
  up                 starts it; the other commands do so by themselves
  down               ends it; all that was changed on it is lost
  tier               runs the tier on a machine of its own and ends that: what scripts/test does`;

/** Pid files: of the machine for commands, and of the tier's. */
const RECORD = '.cache/test-node/machine.json';
const TIER_RECORD = '.cache/test-node/tier.json';
/** How much longer than a real machine an emulated one may take. */
const PATIENCE = { kvm: '2', tcg: '15' };

const [command, ...words] = process.argv.slice(2);
// An interruption ends the process, and `finally` or the kernel ends the tier's machine.
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.once(signal, () => {
    if (command === 'tier') void endRecorded(TIER_RECORD).then(() => process.exit(code));
    else process.exit(code);
  });
}
try {
  process.exitCode = await execute();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}

async function execute(): Promise<number> {
  switch (command) {
    case 'shell':
      return attach(await machineForCommands(), undefined);
    case 'run':
      if (words.length === 0) break;
      return attach(await machineForCommands(), words.map(quoted).join(' '));
    case 'up':
      await machineForCommands();
      return 0;
    case 'down':
      await endRecorded(RECORD);
      return 0;
    case 'sync':
      await sync(await machineForCommands());
      return 0;
    case 'test': {
      const machine = await machineForCommands();
      await sync(machine);
      return runSpecs(machine, words.length > 0 ? words : SPECS, 'spec');
    }
    case 'tier':
      return tier();
    case '--help':
    case '-h':
      console.log(USAGE);
      return 0;
    case undefined:
    default:
  }
  console.error(USAGE);
  return 2;
}

async function machineForCommands(): Promise<Machine> {
  const running = runningMachine(RECORD);
  if (running) {
    if (!isConnected(running)) await openConnection(running);
    return running;
  }
  const missing = missingOnHost();
  if (missing !== undefined) throw new Error(missing);
  const machine = await start(ensureImage(), RECORD, false);
  if (WANTS_ZFS)
    timed('sending ZFS', () => {
      sendZfs(machine);
    });
  return machine;
}

async function start(image: Image, record: string, isBound: boolean): Promise<Machine> {
  return startMachine(image, record, isBound, {
    key: packagesHash(),
    prepare: (machine) => {
      timed('sending the npm packages', () => {
        sendPackages(machine);
      });
      // What the first pod would else wait for.
      outputOf(machine, 'modprobe -a overlay bridge veth nf_tables && node --version');
    },
  });
}

function sync(machine: Machine): Promise<void> {
  return timed('sending the project', () => sendProject(machine));
}

/** Runs a command line there with this terminal, if there is one; none is a shell. */
async function attach(machine: Machine, commandLine: string | undefined): Promise<number> {
  const isInteractive = process.stdin.isTTY && process.stdout.isTTY;
  const child = spawn('ssh', remoteCommand(machine, commandLine, isInteractive), {
    stdio: 'inherit',
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return code ?? 1;
}

/** Runs test files there; they were translated, so their names end otherwise. */
async function runSpecs(machine: Machine, specs: string[], reporter: string): Promise<number> {
  const patience = process.env['PVECRI_TEST_PATIENCE'] ?? PATIENCE[machine.accelerator];
  const mocha = [
    ...['node', join(PROJECT, '../node_modules/mocha/bin/mocha.js'), '--no-config'],
    ...['--timeout', '60000', '--forbid-only', '--fail-zero', '--reporter', reporter],
    // Each on one of its processors.
    ...['--parallel', '--jobs', '2'],
    ...['--require', 'test/support/require-root.js', '--require', 'test/support/patience-hook.js'],
    ...specs.map((spec) => spec.replace(/\.ts$/, '.js')),
  ];
  const line = [
    `cd ${quoted(PROJECT)}`,
    `export PVECRI_TEST_PATIENCE=${quoted(patience)} PVECRI_TEST_COUNTS=/tmp/counts`,
    mocha.map(quoted).join(' '),
  ];
  return attach(machine, line.join(' && '));
}

/** The image, or why this host cannot build it: no way to Debian's archive, no right to make a chroot. */
function imageOrReason(): Image | string {
  try {
    return ensureImage();
  } catch (error) {
    // A mistake in the recipe is a failure.
    const message = error instanceof Error ? error.message : String(error);
    if (/could not (resolve|connect)|failed to fetch|not permitted|only root/i.test(message)) {
      return message;
    }
    throw error;
  }
}

/** The tier of scripts/test: counts to $PVECRI_TEST_COUNTS, nothing left running. */
async function tier(): Promise<number> {
  const counts = process.env['PVECRI_TEST_COUNTS'];
  if (counts === undefined) throw new Error('PVECRI_TEST_COUNTS names no file');
  const missing = missingOnHost();
  if (missing !== undefined) {
    say(`skipped: ${missing}`);
    appendFileSync(counts, '0 0 1\n');
    return 0;
  }
  try {
    const image = imageOrReason();
    if (typeof image === 'string') {
      say(`skipped: ${image}`);
      appendFileSync(counts, '0 0 1\n');
      return 0;
    }
    const machine = await start(image, TIER_RECORD, true);
    if (WANTS_ZFS)
      timed('sending ZFS', () => {
        sendZfs(machine);
      });
    await sync(machine);
    const specs = WANTS_ZFS ? [...SPECS, ...ZFS_SPECS] : SPECS;
    const code = await timed('the tests', () =>
      runSpecs(machine, specs, 'test/support/count-reporter.js'),
    );
    appendFileSync(counts, outputOf(machine, 'cat /tmp/counts'));
    return code;
  } finally {
    await endRecorded(TIER_RECORD);
  }
}
