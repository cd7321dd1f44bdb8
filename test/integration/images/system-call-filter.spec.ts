/** The filter of the unpack helper, in the real kernel. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('system calls of the unpack helper', () => {
  let temp: string;
  let program: string;
  before(function () {
    this.timeout(60_000);
    if (!existsSync('/usr/bin/g++')) this.skip();
    temp = makeTempFolder();
    program = join(temp, 'harness');
    const native = resolve(import.meta.dirname, '../../../native');
    execFileSync('g++', [
      ...['-std=c++20', '-O0', '-Wall', '-Wextra', '-Werror', `-I${native}`, '-o', program],
      join(import.meta.dirname, 'filter-harness.cc'),
      ...['system_call_filter', 'failure'].map((name) => join(native, `unpack/${name}.cc`)),
      '-lpthread',
    ]);
  });
  after(() => {
    if (temp) removeTempFolder(temp);
  });

  it('are those it needs, and no other', () => {
    const { status, stdout } = spawnSync(program, { encoding: 'utf8', timeout: 20_000 });
    assert.equal(status, 0);
    const { EPERM, ENOENT, ENOSYS } = constants.errno;
    const exceptions: Record<string, number> = {
      ...{ thread: 0, 'openat-below': 0, mmap: 0, clone3: ENOSYS },
      ...{ openat: ENOENT, 'openat-high': ENOENT },
    };
    const lines = stdout.trim().split('\n');
    assert.equal(lines.length, 32);
    for (const line of lines) {
      const [name = '', errno] = line.split(' ');
      assert.equal(Number(errno), exceptions[name] ?? EPERM, name);
    }
  });

  it('are not to be had by another numbering', function () {
    if (process.arch !== 'x64') this.skip();
    assert.equal(spawnSync(program, ['i386'], { timeout: 20_000 }).signal, 'SIGSYS');
  });
});
