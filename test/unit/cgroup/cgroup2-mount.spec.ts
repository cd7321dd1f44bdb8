import assert from 'node:assert/strict';
import { findCgroup2Mount } from '../../../src/cgroup/cgroup2-mount.js';

const ROOT = '25 1 259:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw';

describe('findCgroup2Mount', () => {
  it('finds the one hierarchy of a v2 host', () => {
    const text = `${ROOT}\n30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n`;
    assert.equal(findCgroup2Mount(text), '/sys/fs/cgroup');
  });

  it('finds the one beside v1 hierarchies, with any number of optional fields', () => {
    const text = [
      ROOT,
      '31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755',
      '32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu',
      '41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 master:2 - cgroup2 cgroup2 rw',
    ].join('\n');
    assert.equal(findCgroup2Mount(text), '/sys/fs/cgroup/unified');
  });

  it('prefers the usual place over an earlier mount elsewhere', () => {
    const text = [
      '40 25 0:26 / /mnt/cg rw - cgroup2 none rw',
      '41 25 0:26 / /sys/fs/cgroup rw - cgroup2 none rw',
    ].join('\n');
    assert.equal(findCgroup2Mount(text), '/sys/fs/cgroup');
  });

  it('decodes the octal escapes of a mount point', () => {
    const text = '40 25 0:26 / /mnt/a\\040b\\134c rw - cgroup2 none rw';
    assert.equal(findCgroup2Mount(text), '/mnt/a b\\c');
  });

  it('finds nothing in a mount of a part, in other types or in nonsense', () => {
    assert.equal(findCgroup2Mount('40 25 0:26 /kubepods /mnt rw - cgroup2 none rw'), undefined);
    assert.equal(findCgroup2Mount('40 25 0:26 / /mnt rw - cgroup none rw'), undefined);
    assert.equal(findCgroup2Mount('cgroup2\n\n - cgroup2'), undefined);
    assert.equal(findCgroup2Mount(''), undefined);
  });
});
