import assert from 'node:assert/strict';
import { mountpointOf } from '../../../src/util/mountinfo.js';

const table = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /var rw - tmpfs tmpfs rw
24 23 0:22 / /var/lib/a\\040b rw - zfs pool rw
25 22 0:23 / /varnish rw - tmpfs tmpfs rw
`;

describe('mountpointOf', () => {
  it('finds the deepest mount that holds a path', () => {
    for (const [path, expected] of [
      ['/', '/'],
      ['/etc', '/'],
      ['/var', '/var'],
      ['/var/lib/x', '/var'],
      ['/var/lib/a b/c', '/var/lib/a b'],
      ['/varnish/x', '/varnish'],
      ['/variable', '/'],
    ] as const) {
      assert.equal(mountpointOf(path, table), expected);
    }
    assert.equal(mountpointOf('/proc/self'), '/proc');
  });
});
