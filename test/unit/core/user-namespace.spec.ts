import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  isSameMap,
  mapLine,
  overlapOf,
  parseUserNamespace,
  requireMapped,
} from '../../../src/core/user-namespace.js';

const range = (hostId: number, length: number, containerId = 0) => ({
  containerId,
  hostId,
  length,
});
const map = (hostId: number, length: number) => ({
  uids: range(hostId, length),
  gids: range(hostId, length),
});

describe('user namespaces of pods', () => {
  it('have one range from id 0 on, of users and of groups', () => {
    const wanted = { uids: [range(1000, 10)], gids: [range(2000, 20)] };
    const parsed = parseUserNamespace('f', wanted);
    assert.deepEqual(parsed, { uids: range(1000, 10), gids: range(2000, 20) });
    assert.equal(mapLine(parsed.gids), '0 2000 20\n');
    const whole = { uids: [range(1, 2 ** 32 - 2)], gids: [range(1, 1)] };
    assert.equal(parseUserNamespace('f', whole).uids.length, 2 ** 32 - 2);
  });

  it('are refused by field and value otherwise', () => {
    const good = [range(1000, 10)];
    const cases: [uids: ReturnType<typeof range>[], message: RegExp][] = [
      [[], /f\.uids: 0 mappings/],
      [[...good, range(5000, 10)], /f\.uids: 2 mappings are given \(.*1000.*5000/],
      [[range(1000, 0)], /host ids from 1000, length 0 is empty/],
      [[range(1000, 10, 1)], /container ids from 1 .*leaves out container id 0/],
      [[range(0, 10)], /includes host id 0/],
      [[range(1, 2 ** 32 - 1)], /ends above host id 4294967294/],
    ];
    for (const [uids, message] of cases) {
      assert.throws(() => parseUserNamespace('f', { uids, gids: good }), {
        kind: 'invalid-argument',
        message,
      });
    }
    assert.throws(() => parseUserNamespace('f', { uids: good, gids: [] }), { message: /f\.gids/ });
  });

  it('overlap exactly where an id of the host is in both', () => {
    const ids = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 20 }));
    fc.assert(
      fc.property(ids, ids, ([a, m], [b, n]) => {
        const shared = Array.from({ length: m }, (_, i) => a + i).some((x) => x >= b && x < b + n);
        assert.equal(overlapOf(map(a, m), map(b, n)) !== undefined, shared);
        assert.equal(isSameMap(map(a, m), map(b, n)), a === b && m === n);
      }),
    );
    assert.equal(overlapOf(map(10, 10), map(19, 5)), 'uids 19 to 19');
    const groups = { uids: range(100, 5), gids: range(12, 3) };
    assert.equal(overlapOf(map(10, 10), groups), 'gids 12 to 14');
  });

  it('have no ids but their own', () => {
    const user = { uid: 9, gid: 9, supplementalGroups: [9] };
    requireMapped('c', map(1000, 10), user);
    for (const [change, message] of [
      [{ uid: 10 }, /user 10 .* ids 0 to 9/],
      [{ gid: 10 }, /group 10/],
      [{ supplementalGroups: [1, 11] }, /group 11/],
    ] as const) {
      const other = { ...user, ...change };
      assert.throws(
        () => {
          requireMapped('c', map(1000, 10), other);
        },
        { message },
      );
    }
  });
});
