/** Folders are private, files for containers readable, removal idempotent. */
import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
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

  it('writes files that any user of a container may read', () =>
    withTempFolder(async (root) => {
      const folders = new FileObjectFolders({ root, state: '/nonexistent' });
      await mkdir(join(root, 'sandboxes', sandbox), { recursive: true });
      const path = await folders.writeSandboxFile(sandbox, 'resolv.conf', 'nameserver ::1\n');
      assert.equal(path, folders.sandboxFile(sandbox, 'resolv.conf'));
      assert.equal(statSync(path).mode & 0o777, 0o644);
    }));

  it('does not make up a sandbox that has no record', () =>
    withTempFolder(async (root) => {
      const folders = new FileObjectFolders({ root, state: '/nonexistent' });
      await assert.rejects(
        folders.writeSandboxFile(sandbox, 'hosts', ''),
        /cannot write hosts of sandbox a+: ENOENT/,
      );
    }));
});
