/** Old or new, never a mixture; nothing beside it. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isTemporaryName, writeFileAtomic } from '../../../src/util/atomic-file.js';
import { withTempFolder } from '../../support/temp.js';

describe('writeFileAtomic', () => {
  it('writes with the exact mode, whatever the umask, and leaves no temporary', () =>
    withTempFolder(async (folder) => {
      const path = join(folder, 'a.json');
      const before = process.umask(0o077);
      try {
        await writeFileAtomic(path, 'one', 0o644);
      } finally {
        process.umask(before);
      }
      assert.equal((await stat(path)).mode & 0o777, 0o644);
      await writeFileAtomic(path, new Uint8Array([116, 119, 111]));
      assert.equal(await readFile(path, 'utf8'), 'two');
      assert.equal((await stat(path)).mode & 0o777, 0o600);
      assert.deepEqual(await readdir(folder), ['a.json']);
    }));

  it('replaces a symlink instead of writing through it', () =>
    withTempFolder(async (folder) => {
      await writeFile(join(folder, 'target'), 'kept');
      await symlink('target', join(folder, 'link'));
      await writeFileAtomic(join(folder, 'link'), 'new');
      assert.equal(await readFile(join(folder, 'target'), 'utf8'), 'kept');
      assert.equal(await readFile(join(folder, 'link'), 'utf8'), 'new');
    }));

  it('leaves nothing behind when the rename is impossible', () =>
    withTempFolder(async (folder) => {
      await mkdir(join(folder, 'taken'));
      await assert.rejects(writeFileAtomic(join(folder, 'taken'), 'x'), { code: 'EISDIR' });
      assert.deepEqual(await readdir(folder), ['taken']);
    }));

  it('does not take a write under way for a leftover', () =>
    withTempFolder(async (folder) => {
      const write = writeFileAtomic(join(folder, 'a'), 'x'.repeat(1 << 20));
      const seen = new Set<string>();
      for (let isDone = false; !isDone;) {
        for (const name of await readdir(folder)) seen.add(name);
        isDone = seen.has('a');
      }
      await write;
      const temporaries = [...seen].filter((name) => name.endsWith('.tmp'));
      assert.equal(temporaries.length, 1);
      assert.deepEqual(temporaries.filter(isTemporaryName), []);
    }));

  it('knows leftovers from other names', () => {
    assert.equal(isTemporaryName('.sandbox.json.0123456789ab-3.tmp'), true);
    for (const name of ['.a.12-1.tmp', 'sandbox.json', 'x.tmp', '.hidden', 'exit', '.exit.tmp']) {
      assert.equal(isTemporaryName(name), false, name);
    }
  });
});
