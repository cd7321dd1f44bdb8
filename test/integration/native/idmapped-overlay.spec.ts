/** Overlays over layers that a user namespace gives other owners. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../../src/native/binding.js';
import { mountsBelow, openDescriptors, settlesAt } from '../../support/descriptors.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';
import { makeUserNamespace, type UserNamespace } from '../../support/user-namespace.js';

const BASE = 200_000;

describe('mountOverlay with a user namespace', () => {
  const addon = loadAddon();
  let folder: string;
  let namespace: UserNamespace;
  let descriptors: number;

  before(async () => {
    namespace = await makeUserNamespace(BASE);
  });
  after(() => {
    namespace.close();
  });
  beforeEach(() => {
    descriptors = openDescriptors();
    folder = makeTempFolder();
  });
  afterEach(async () => {
    assert.ok(await settlesAt(openDescriptors, descriptors), 'a descriptor was left open');
    assert.equal(mountsBelow(folder), 0, 'a mount was left');
    removeTempFolder(folder);
  });

  function make(count: number): { lower: string[]; work: string } {
    const lower = Array.from({ length: count }, (_, i) => {
      const path = join(folder, `layer,${i}`);
      mkdirSync(path);
      writeFileSync(join(path, 'all'), `layer ${i}`);
      writeFileSync(join(path, `of-${i}`), '', { mode: 0o640 });
      chownSync(join(path, `of-${i}`), i, 2 * i);
      return path;
    });
    return { lower, work: makeFolder('work') };
  }

  function makeFolder(name: string, owner = 0): string {
    const path = join(folder, name);
    mkdirSync(path);
    chownSync(path, owner, owner);
    chmodSync(path, 0o755);
    return path;
  }

  for (const count of [1, 5, 127]) {
    it(`shifts the owners of ${count} layers, and not what is on the disk`, async () => {
      const layers = make(count);
      const upper = makeFolder('upper', BASE);
      const fd = await addon.mountOverlay({ ...layers, upper, userNamespace: namespace.fd });
      try {
        const last = count - 1;
        const seen = namespace.run(`cat all; echo; stat -c %u:%g:%a . of-${last}`, { folder: fd });
        assert.equal(seen, `layer 0\n0:0:755\n${last}:${2 * last}:640\n`);
        const host = lstatSync(`/proc/self/fd/${fd}/of-${last}`);
        assert.deepEqual([host.uid, host.gid], [BASE + last, BASE + 2 * last]);
        const disk = lstatSync(join(layers.lower[last]!, `of-${last}`));
        assert.deepEqual([disk.uid, disk.gid], [last, 2 * last]);
      } finally {
        closeSync(fd);
      }
    });
  }

  it('keeps owners when a file is copied up, and writes with the host ids', async () => {
    const layers = make(8);
    const upper = makeFolder('upper', BASE);
    const fd = await addon.mountOverlay({ ...layers, upper, userNamespace: namespace.fd });
    try {
      const script =
        'echo new > new; chmod 600 of-7; echo more >> of-6; mkdir d; chown 9:9 d; rm of-5';
      namespace.run(script, { folder: fd });
      assert.equal(
        namespace.run('stat -c %u:%g:%a new of-7 of-6 d; cat of-6', { folder: fd }),
        '0:0:644\n7:14:600\n6:12:640\n9:9:755\nmore\n',
      );
      const onDisk = (name: string): number[] => {
        const { uid, gid } = lstatSync(join(upper, name));
        return [uid - BASE, gid - BASE];
      };
      assert.deepEqual(['new', 'of-7', 'of-6', 'd'].map(onDisk), [
        [0, 0],
        [7, 14],
        [6, 12],
        [9, 9],
      ]);
      assert.throws(() => namespace.run('cat of-5', { folder: fd }), /No such file/);
      // Root of the namespace is nobody to a file whose owner it does not have.
      assert.throws(() => namespace.run('echo x >> of-7', { folder: fd, id: 3 }), /denied/);
    } finally {
      closeSync(fd);
    }
    assert.equal(readFileSync(join(layers.lower[6]!, 'of-6'), 'utf8'), '');
  });

  it('gives two namespaces the same layers at once', async () => {
    const layers = make(3);
    const other = await makeUserNamespace(500_000, 1000);
    const mounts: number[] = [];
    try {
      for (const [base, userNamespace] of [
        [BASE, namespace.fd],
        [500_000, other.fd],
        [0, undefined],
      ] as const) {
        const upper = makeFolder(`upper-${base}`, base);
        const work = makeFolder(`work-${base}`);
        mounts.push(
          await addon.mountOverlay({
            lower: layers.lower,
            ...{ upper, work },
            ...(userNamespace !== undefined && { userNamespace }),
          }),
        );
      }
      const owners = mounts.map((fd) => lstatSync(`/proc/self/fd/${fd}/of-2`).uid);
      assert.deepEqual(owners, [BASE + 2, 500_002, 2]);
      for (const [i, it] of [namespace, other].entries()) {
        assert.equal(it.run('stat -c %u:%g of-2', { folder: mounts[i]! }), '2:4\n');
      }
    } finally {
      for (const fd of mounts) closeSync(fd);
      other.close();
    }
  });

  it('names what failed', async () => {
    const layers = make(1);
    const upper = makeFolder('upper');
    const request = { ...layers, upper, userNamespace: namespace.fd };
    await assert.rejects(addon.mountOverlay({ ...request, lower: [join(folder, 'none')] }), {
      code: 'ENOENT',
      path: join(folder, 'none'),
    });
    assert.throws(() => addon.mountOverlay({ ...request, userNamespace: 9999 }), { code: 'EBADF' });
    const host = openSync('/proc/self/ns/user', 'r');
    try {
      // The host's own namespace maps nothing: the kernel refuses it.
      await assert.rejects(addon.mountOverlay({ ...request, userNamespace: host }), {
        code: 'EPERM',
        syscall: 'mount_setattr',
      });
    } finally {
      closeSync(host);
    }
    await assert.rejects(addon.mountOverlay({ ...request, lower: ['/proc'] }), {
      code: 'EINVAL',
      message: /no idmapped mounts/,
    });
  });

  it('tells the host ids of an owner, and which owner a namespace does not have', async () => {
    const path = makeFolder('d', 7);
    assert.deepEqual(await addon.mappedOwner(path, namespace.fd), { uid: BASE + 7, gid: BASE + 7 });
    chownSync(path, 70_000, 0);
    await assert.rejects(addon.mappedOwner(path, namespace.fd), { code: 'EOVERFLOW', path });
  });
});
