// Identity of the payload: precedence, hostile passwd files, and ids that must never become root.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { resolveUser } from '../../../src/core/user.js';
import type { UserRequest } from '../../../src/core/requests.js';

const nobody: UserRequest = {
  uid: null,
  gid: null,
  username: '',
  supplementalGroups: [],
  policy: 'merge',
};
const files = {
  passwd: 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n',
  group: 'root:x:0:\nstaff:x:50:app,other\nwheel:x:10:root\n',
};

describe('resolveUser', () => {
  it('is root with the home of root when nobody says otherwise', () => {
    const user = resolveUser(nobody, '', files);
    assert.deepEqual(user, { uid: 0, gid: 0, supplementalGroups: [10], home: '/root' });
  });

  it('prefers the request to the image', () => {
    assert.equal(resolveUser({ ...nobody, uid: 5 }, 'app', files).uid, 5);
    assert.equal(resolveUser({ ...nobody, username: 'app' }, '5', files).uid, 1000);
    assert.equal(resolveUser({ ...nobody, uid: 1000, gid: 9 }, '', files).gid, 9);
  });

  it("takes the image's user and group, by name or number", () => {
    const byName = resolveUser(nobody, 'app:staff', files);
    assert.deepEqual([byName.uid, byName.gid, byName.home], [1000, 50, '/home/app']);
    const byNumber = resolveUser(nobody, '1000:7', files);
    assert.deepEqual([byNumber.uid, byNumber.gid], [1000, 7]);
    assert.deepEqual(resolveUser(nobody, '4000', files).gid, 0);
  });

  it("adds the image's groups under Merge and leaves them out under Strict", () => {
    const request = { ...nobody, username: 'app', supplementalGroups: [50, 60] };
    assert.deepEqual(resolveUser(request, '', files).supplementalGroups, [50, 60]);
    const merged = resolveUser({ ...request, supplementalGroups: [60] }, '', files);
    assert.deepEqual(merged.supplementalGroups, [60, 50]);
    const strict = resolveUser(
      { ...request, supplementalGroups: [60], policy: 'strict' },
      '',
      files,
    );
    assert.deepEqual(strict.supplementalGroups, [60]);
  });

  for (const user of [
    '2147483648',
    '4294967296',
    '4294967295',
    '-1',
    '0x0',
    '+0',
    '00',
    '1e3',
    '0:0:0',
    'root:+0',
  ]) {
    it(`refuses the image user ${user}`, () => {
      assert.throws(() => resolveUser(nobody, user, files), /user|group/);
    });
  }

  it('refuses names the image does not have', () => {
    assert.throws(() => resolveUser(nobody, 'ghost', files), /"ghost".*\/etc\/passwd/);
    assert.throws(() => resolveUser(nobody, 'app:ghosts', files), /"ghosts".*\/etc\/group/);
    assert.throws(
      () => resolveUser(nobody, 'app', { passwd: null, group: null }),
      /"app".*\/etc\/passwd/,
    );
  });

  it('skips malformed lines and a home that is no path', () => {
    const passwd = 'app\napp:x:zero:0::/\napp:x:-5:0::/\napp:x:77:78::relative:\n';
    const user = resolveUser(nobody, 'app', { passwd, group: null });
    assert.deepEqual([user.uid, user.gid, user.home], [77, 78, '/']);
  });

  it('never yields an id outside 0..2^32-2, nor root by accident, whatever the text', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (imageUser, passwd) => {
        let user;
        try {
          user = resolveUser(nobody, imageUser, { passwd, group: null });
        } catch (error) {
          assert.match((error as Error).message, /user|group/);
          return;
        }
        assert.ok(Number.isInteger(user.uid) && user.uid >= 0 && user.uid <= 4294967294);
        const name = imageUser.split(':')[0] ?? '';
        if (user.uid === 0 && name !== '' && name !== '0') {
          assert.ok(passwd.includes(`${name}:`), 'root only for 0, nothing, or a passwd entry');
        }
      }),
    );
  });
});
