/**
 * Another kernel for tests, as a program: Debian's user-mode-linux has what the host's may lack (quotas,
 * device mapper) and lacks what it has (it is older). Its root is the host's, read-only.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { patient } from './patience.js';
import { makeTempFolder, removeTempFolder } from './temp.js';

const KERNEL = '/usr/bin/linux.uml';
const MODULES = '/usr/lib/uml/modules';
const LIMIT_MS = 600_000;

/** Why there is none; undefined when there is. */
function whyNoUserModeLinux(): string | undefined {
  return existsSync(KERNEL) && existsSync(MODULES) ? undefined : `${KERNEL} is not installed`;
}

interface GuestRun {
  /** Exit status of mocha; undefined when it did not come to that. */
  status: number | undefined;
  passing: number;
  output: string;
}

interface GuestSpecs {
  title: string;
  specs: readonly string[];
  /** Of their tests those with this in their names. */
  grep?: string;
  /** How many must pass: the others are skipped there. */
  least: number;
  /** Of the host, that they need. */
  program?: string;
}

/** One test: spec files of the project pass there. */
export function passesOnOtherKernel({ title, specs, grep, least, program }: GuestSpecs): void {
  it(title, async function () {
    this.timeout(patient(LIMIT_MS + 50_000));
    const reason =
      program === undefined || existsSync(program)
        ? whyNoUserModeLinux()
        : `${program} is not installed`;
    if (reason !== undefined) {
      console.log(`    skipped: ${reason}`);
      this.skip();
    }
    const { status, passing, output } = await runSpecs(specs, grep);
    const failures = output.replace(/^ *✔.*\n/gm, '');
    assert.equal(status, 0, failures);
    assert.ok(passing >= least, `${passing} passed\n${failures}`);
  });
}

/** Runs spec files of the project, or those of their tests that have `grep` in their names. */
async function runSpecs(specs: readonly string[], grep = ''): Promise<GuestRun> {
  const folder = makeTempFolder();
  const project = resolve(import.meta.dirname, '../..');
  const modules = join(MODULES, readdirSync(MODULES)[0] ?? '');
  const machine = spawn(
    KERNEL,
    [
      ...[
        'mem=1536M',
        'rootfstype=hostfs',
        'rootflags=/',
        'ro',
        'loglevel=1',
        'con=null',
        'con0=fd:0,fd:1',
      ],
      ...[`uml_dir=${folder}`, `init=${join(import.meta.dirname, 'user-mode-linux-init')}`],
      ...[`PROJECT=${project}`, `MODULES=${modules}`, `SPECS=${specs.join(',')}`],
      // Words on a kernel's command line have no blanks.
      ...(grep === '' ? [] : [`GREP=${grep.replaceAll(' ', ',')}`]),
    ],
    // Its memory is a file there.
    {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { TMPDIR: '/dev/shm', HOME: folder },
    },
  );
  let output = '';
  for (const stream of [machine.stdout, machine.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  const limit = setTimeout(() => {
    if (machine.pid !== undefined) process.kill(-machine.pid, 'SIGKILL');
  }, patient(LIMIT_MS));
  try {
    await once(machine, 'close');
  } finally {
    clearTimeout(limit);
    removeTempFolder(folder);
  }
  const number = (pattern: RegExp): number | undefined => {
    const found = pattern.exec(output)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  return {
    status: number(/^status (\d+)/m),
    passing: number(/(\d+) passing/) ?? 0,
    output,
  };
}
