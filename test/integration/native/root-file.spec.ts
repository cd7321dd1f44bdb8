import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../../src/native/binding.js';
import { openDescriptors } from '../../support/descriptors.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('readFileInRoot', () => {
  const addon = loadAddon();
  let folder: string;
  let root: number;
  let descriptors: number;

  beforeEach(() => {
    folder = makeTempFolder();
    mkdirSync(join(folder, 'root/etc'), { recursive: true });
    writeFileSync(join(folder, 'root/etc/passwd'), 'inside');
    writeFileSync(join(folder, 'secret'), 'outside');
    descriptors = openDescriptors();
    root = openSync(join(folder, 'root'), 'r');
  });

  afterEach(() => {
    closeSync(root);
    assert.ok(openDescriptors() <= descriptors, 'a descriptor was left open');
    removeTempFolder(folder);
  });

  const read = (path: string, limit = 1000): string | null => {
    const bytes = addon.readFileInRoot(root, path, limit);
    return bytes === null ? null : Buffer.from(bytes).toString();
  };

  it('reads by a relative and by an absolute path', () => {
    assert.equal(read('etc/passwd'), 'inside');
    assert.equal(read('/etc/passwd'), 'inside');
    assert.equal(read('/etc/../etc/./passwd'), 'inside');
  });

  it('is null for what does not exist', () => {
    assert.equal(read('/none'), null);
    assert.equal(read('/none/at/all'), null);
    assert.equal(read('/etc/passwd/below-a-file'), null);
    symlinkSync('nowhere', join(folder, 'root/dangling'));
    assert.equal(read('/dangling'), null);
  });

  it('resolves every link inside the root', () => {
    writeFileSync(join(folder, 'root/secret'), 'decoy');
    symlinkSync('../../../../secret', join(folder, 'root/etc/up'));
    symlinkSync(join(folder, 'secret'), join(folder, 'root/etc/absolute'));
    symlinkSync('/etc/passwd', join(folder, 'root/to-etc'));
    symlinkSync('../../..', join(folder, 'root/etc/folder'));
    assert.equal(read('/../../secret'), 'decoy');
    assert.equal(read('/etc/up'), 'decoy');
    assert.equal(read('/etc/absolute'), null);
    assert.equal(read('/to-etc'), 'inside');
    assert.equal(read('/etc/folder/secret'), 'decoy');
  });

  it('refuses a loop and a magic link', () => {
    symlinkSync('loop', join(folder, 'root/loop'));
    assert.throws(() => read('/loop'), { code: 'ELOOP', path: '/loop' });
    const proc = openSync('/proc', 'r');
    const outside = openSync(join(folder, 'secret'), 'r');
    try {
      assert.throws(() => addon.readFileInRoot(proc, `self/fd/${outside}`, 10), { code: 'ELOOP' });
    } finally {
      closeSync(proc);
      closeSync(outside);
    }
  });

  it('refuses a folder, a FIFO, a device and a socket, and does not block', () => {
    execFileSync('mkfifo', [join(folder, 'root/fifo')]);
    execFileSync('mknod', [join(folder, 'root/zero'), 'c', '1', '5']);
    execFileSync('mknod', [join(folder, 'root/tty'), 'c', '5', '0']);
    for (const path of ['/', '/etc', '/fifo', '/zero', '/tty']) {
      assert.throws(() => read(path), { code: 'EINVAL', path });
    }
  });

  it('reads no more than it may, whatever the size claims', () => {
    writeFileSync(join(folder, 'root/big'), 'x'.repeat(300_000));
    assert.equal(read('/big', 100), 'x'.repeat(100));
    assert.equal(read('/big', 0), '');
    assert.equal(read('/big', 300_000)?.length, 300_000);
    assert.equal(read('/big', 1_000_000)?.length, 300_000);
    execFileSync('truncate', ['-s', '1T', join(folder, 'root/sparse')]);
    assert.equal(read('/sparse', 4096)?.length, 4096);
    // Files of /proc claim no size at all.
    const proc = openSync('/proc/self', 'r');
    const status = addon.readFileInRoot(proc, 'status', 100_000);
    closeSync(proc);
    assert.match(Buffer.from(status ?? []).toString(), /^Name:/);
  });

  it('names what is wrong with the root', () => {
    assert.throws(() => addon.readFileInRoot(99_999, 'x', 1), { code: 'EBADF' });
    const file = openSync(join(folder, 'secret'), 'r');
    assert.equal(addon.readFileInRoot(file, 'x', 1), null);
    closeSync(file);
  });
});
