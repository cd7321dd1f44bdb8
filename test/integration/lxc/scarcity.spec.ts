/** The engine while the agent has run out of descriptors. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { LxcFixture } from '../../support/lxc-fixture.js';

describe('a container while descriptors are scarce', () => {
  let fixture: LxcFixture;
  before(() => {
    fixture = new LxcFixture();
  });
  after(async () => {
    await fixture.close();
  });

  it('is not given up: its end is told all the same', async () => {
    const spec = fixture.spec('sleep 2; exit 7');
    await fixture.run(spec);
    const limit = /Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    // Started before, because under the lower limit nothing can be started.
    const set = (soft: string) => `prlimit --pid ${process.pid} --nofile=${soft}:`;
    const squeeze = spawn('sh', ['-c', `${set('3')}; echo; sleep 0.5; ${set(limit ?? '')}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const over = once(squeeze, 'exit');
    await once(squeeze.stdout, 'data');
    assert.throws(() => openSync('/dev/null', 'r'), /EMFILE/);
    const exit = await fixture.wait(spec);
    assert.equal(exit.exitCode, 7);
    await over;
  });
});
