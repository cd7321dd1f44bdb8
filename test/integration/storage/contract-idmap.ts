/** The contract's part about user namespaces. */
import assert from 'node:assert/strict';
import { lstatSync } from 'node:fs';
import { containerId, type DriverBench } from '../../support/driver-bench.js';
import { file, folder } from '../../support/tar.js';
import { makeUserNamespace, type UserNamespace } from '../../support/user-namespace.js';
import type { DriverTraits } from './driver-contract.js';

const BASE = 300_000;

export function idmapPromises(bench: DriverBench, traits: DriverTraits): void {
  const id = containerId(1);
  const other = containerId(2);

  describe('in a user namespace', () => {
    let namespace: UserNamespace | undefined;
    let second: UserNamespace | undefined;

    before(async function () {
      if (!traits.idmap) this.skip();
      namespace = await makeUserNamespace(BASE);
      second = await makeUserNamespace(500_000);
    });
    after(() => {
      namespace?.close();
      second?.close();
    });

    const layers = [
      [
        folder('./', { mode: 0o751, uid: 5, gid: 6 }),
        file('a', 'a', { mode: 0o640, uid: 7, gid: 8 }),
      ],
      [folder('d/', { uid: 9, gid: 9 }), file('d/b', 'b')],
    ];

    it('gives files the owners they have in the layers', async () => {
      assert.ok(namespace);
      const image = await bench.image(...layers);
      const options = { userNamespace: namespace.fd };
      await bench.driver.prepare(id, image, options);
      const fd = await bench.mount(id, image, options);
      assert.equal(
        namespace.run('stat -c %n:%u:%g:%a . a d d/b; cat a d/b', { folder: fd }),
        '.:5:6:751\na:7:8:640\nd:9:9:755\nd/b:0:0:644\nab',
      );
      const { uid, gid } = lstatSync(`/proc/self/fd/${fd}/a`);
      assert.deepEqual([uid, gid], [BASE + 7, BASE + 8]);
    });

    it('keeps what root of the namespace writes, over unmount and a kill of the agent', async () => {
      assert.ok(namespace);
      const image = await bench.image(...layers);
      const options = { userNamespace: namespace.fd };
      await bench.driver.prepare(id, image, options);
      const fd = await bench.mount(id, image, options);
      namespace.run(
        'echo new > new; echo more >> a; chmod 600 d/b; chown 1:2 .; mkdir e; rm -r d; mkdir d',
        { folder: fd },
      );
      bench.unmount(fd);
      await bench.reopen();
      const again = await bench.mount(id, image, options);
      assert.equal(
        namespace.run('stat -c %n:%u:%g . a d e new; cat new a', { folder: again }),
        '.:1:2\na:7:8\nd:0:0\ne:0:0\nnew:0:0\nnew\namore\n',
      );
    });

    it('keeps users of the namespace from what is not theirs', async () => {
      assert.ok(namespace);
      const image = await bench.image(...layers);
      const options = { userNamespace: namespace.fd };
      await bench.driver.prepare(id, image, options);
      const folder = await bench.mount(id, image, options);
      const it = namespace;
      assert.equal(it.run('cat a', { folder, id: 7 }), 'a');
      for (const script of ['cat a', 'echo x > new', 'chown 3 d']) {
        assert.throws(() => it.run(script, { folder, id: 3 }), /denied|not permitted/);
      }
    });

    it('serves two namespaces and none with the same layers at once', async () => {
      assert.ok(namespace && second);
      const image = await bench.image(...layers);
      const plain = containerId(3);
      await bench.driver.prepare(id, image, { userNamespace: namespace.fd });
      await bench.driver.prepare(other, image, { userNamespace: second.fd });
      await bench.driver.prepare(plain, image);
      const mounts = [
        await bench.mount(id, image, { userNamespace: namespace.fd }),
        await bench.mount(other, image, { userNamespace: second.fd }),
        await bench.mount(plain, image),
      ];
      assert.deepEqual(
        mounts.map((fd) => lstatSync(`/proc/self/fd/${fd}/a`).uid),
        [BASE + 7, 500_007, 7],
      );
      assert.equal(namespace.run('stat -c %u . a', { folder: mounts[0] ?? -1 }), '5\n7\n');
      assert.equal(second.run('stat -c %u . a', { folder: mounts[1] ?? -1 }), '5\n7\n');
    });
  });
}
