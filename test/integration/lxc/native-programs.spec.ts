/** The native programs in memory files, and hosts that forbid to run these. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { scriptArguments } from '../../support/script.js';

describe('native programs', () => {
  /** In a PID namespace of its own, which the sysctl belongs to. */
  const load = (noexec: number): { status: number | null; stderr: string } => {
    const script = `echo ${noexec} > /proc/sys/vm/memfd_noexec && exec "$@"`;
    const program = [process.execPath, ...scriptArguments('test/support/load-programs')];
    const args = ['--pid', '--fork', '--mount-proc', 'sh', '-c', script, 'sh', ...program];
    return spawnSync('unshare', args, { encoding: 'utf8' });
  };

  before(function () {
    if (!existsSync('/proc/sys/vm/memfd_noexec')) this.skip(); // Linux 6.3
  });

  for (const noexec of [0, 1])
    it(`load where vm.memfd_noexec is ${noexec}`, () => {
      const { status, stderr } = load(noexec);
      assert.equal(status, 0, stderr);
    });

  it('say what to do where it is 2', () => {
    assert.match(
      load(2).stderr,
      /cannot load \S+\/pvecri-init: set the sysctl vm\.memfd_noexec to 0 or 1: EACCES/,
    );
  });
});
