/** One agent per root and per state, until it is gone, however it went. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../../src/native/binding.js';
import { lockRoot } from '../../../src/store/root-lock.js';
import { scriptArguments } from '../../support/script.js';
import { withTempFolder } from '../../support/temp.js';

const lockFile = (path: string): number => loadAddon().lockFile(path);

describe('lockRoot', function () {
  this.timeout(20_000);

  it('refuses a second agent by the pid of the first, and lets it in after kill -9', () =>
    withTempFolder(async (folder) => {
      const folders = { root: join(folder, 'root'), state: join(folder, 'state') };
      const holder = spawn(
        process.execPath,
        [...scriptArguments('test/support/hold-lock'), folders.root, folders.state],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      try {
        await once(holder.stdout, 'data');
        const inUse = (path: string) => ({
          kind: 'failed-precondition',
          message: `${path} is in use by another agent (pid ${holder.pid ?? 0}): stop that one, or give this one a root and a state of its own`,
        });
        assert.throws(() => lockRoot(lockFile, folders), inUse(folders.root));
        // One of the two in common is one too many, and the other must not stay locked.
        const other = { root: join(folder, 'other'), state: folders.state };
        assert.throws(() => lockRoot(lockFile, other), inUse(folders.state));
        lockRoot(lockFile, { root: other.root, state: join(folder, 'own') }).release();
      } finally {
        holder.kill('SIGKILL');
        await once(holder, 'close');
      }
      const lock = lockRoot(lockFile, folders);
      assert.equal(readFileSync(join(folders.root, 'agent.lock'), 'utf8'), `${process.pid}\n`);
      assert.equal(statSync(join(folders.root, 'agent.lock')).mode & 0o777, 0o600);
      assert.equal(statSync(folders.root).mode & 0o777, 0o700);
      assert.throws(() => lockRoot(lockFile, folders), /is in use by another agent/);
      lock.release();
      lock.release();
      lockRoot(lockFile, folders).release();
    }));

  it('says so when the holder has not written its pid', () =>
    withTempFolder((folder) => {
      const lock = lockRoot(lockFile, { root: folder, state: join(folder, 's') });
      writeFileSync(join(folder, 'agent.lock'), '\u001b[31m');
      assert.throws(
        () => lockRoot(lockFile, { root: folder, state: join(folder, 't') }),
        /its pid is not written to .*agent\.lock yet/,
      );
      lock.release();
    }));

  it('does not follow a symlink, and names what it cannot lock', () =>
    withTempFolder((folder) => {
      symlinkSync(join(folder, 'victim'), join(folder, 'agent.lock'));
      assert.throws(() => lockRoot(lockFile, { root: folder, state: folder }), {
        kind: 'internal',
        message: /^cannot lock .*agent\.lock: ELOOP/,
      });
      assert.equal(existsSync(join(folder, 'victim')), false);
      writeFileSync(join(folder, 'file'), '');
      assert.throws(() => lockRoot(lockFile, { root: join(folder, 'file'), state: folder }), {
        message: /^cannot lock .*file\/agent\.lock: (EEXIST|ENOTDIR)/,
      });
    }));
});
