/** Folders are private, files for containers readable, removal idempotent. */
import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerId, SandboxId } from '../../../src/core/ids.js';
import { FileObjectFolders } from '../../../src/store/object-folders.js';
import { withTempFolder } from '../../support/temp.js';

const container = 'c'.repeat(64) as ContainerId;
const sandbox = 'a'.repeat(64) as SandboxId;

describe('FileObjectFolders', () => {
  it('makes both folders of a container private, and removes the volatile one alone', () =>
    withTempFolder(async (folder) => {
      const folders = new FileObjectFolders({ root: join(folder, 'r'), state: join(folder, 's') });
      await folders.makeContainer(container);
      await folders.makeContainer(container);
      for (const path of [
        folders.containerDirectory(container),
        folders.containerRunDirectory(container),
      ]) {
        assert.equal(statSync(path).mode & 0o777, 0o700);
      }
      await folders.removeContainerRun(container);
      await folders.removeContainerRun(container);
      assert.equal(existsSync(folders.containerRunDirectory(container)), false);
      assert.equal(existsSync(folders.containerDirectory(container)), true);
    }));

  it('writes files that any user of a container may read, whatever the umask, and removes them', () =>
    withTempFolder(async (state) => {
      const folders = new FileObjectFolders({ root: '/nonexistent', state });
      const mask = process.umask(0o077);
      try {
        const path = await folders.writeSandboxFile(sandbox, 'resolv.conf', 'nameserver ::1\n');
        assert.equal(path, folders.sandboxFile(sandbox, 'resolv.conf'));
        assert.equal(statSync(path).mode & 0o777, 0o644);
        assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
        await folders.removeSandboxFiles(sandbox);
        await folders.removeSandboxFiles(sandbox);
        assert.equal(existsSync(path), false);
      } finally {
        process.umask(mask);
      }
    }));

  it('names the file and the sandbox that a full or missing disk kept from it', async () => {
    const folders = new FileObjectFolders({ root: '/nonexistent', state: '/dev/null' });
    await assert.rejects(
      folders.writeSandboxFile(sandbox, 'hosts', ''),
      /cannot write hosts of sandbox a+: ENOTDIR/,
    );
  });
});
