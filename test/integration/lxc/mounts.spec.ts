/** What the held init mounts, masks and makes read-only. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { BindMount } from '../../../src/core/model.js';
import { LxcFixture } from '../../support/lxc-fixture.js';
import { until } from '../../support/processes.js';

describe('mounts', () => {
  let fixture: LxcFixture;
  let volume: string;
  before(() => {
    fixture = new LxcFixture();
    volume = join(fixture.folder, 'volume');
    mkdirSync(join(volume, 'inner'), { recursive: true });
    writeFileSync(join(volume, 'file'), 'content\n');
    // A mount below the volume, and a shared parent for what the containers mount themselves.
    execFileSync('mount', ['--bind', volume, volume]);
    execFileSync('mount', ['--make-shared', volume]);
    execFileSync('mount', ['-t', 'tmpfs', 'none', join(volume, 'inner')]);
    symlinkSync('/outside', join(fixture.rootfs, 'absolute'));
    symlinkSync('../../../../../../outside', join(fixture.rootfs, 'relative'));
    symlinkSync('/etc/passwd', join(fixture.rootfs, 'to-file'));
    symlinkSync('loop-b', join(fixture.rootfs, 'loop-a'));
    symlinkSync('loop-a', join(fixture.rootfs, 'loop-b'));
  });
  after(async () => {
    execFileSync('umount', ['-R', volume]);
    await fixture.close();
  });

  const mount = (target: string, other: Partial<BindMount> = {}): { mounts: BindMount[] } => ({
    mounts: [
      {
        source: volume,
        target,
        readonly: false,
        recursiveReadonly: false,
        propagation: 'private',
        ...other,
      },
    ],
  });

  it('makes missing folders and files to mount onto', async () => {
    assert.equal(await fixture.output('cat /a/b/c/file', mount('/a/b/c')), 'content');
    const file = mount('/x/y/file', { source: join(volume, 'file') });
    assert.equal(await fixture.output('cat /x/y/file; ls /x/y', file), 'content\nfile');
  });

  for (const link of ['absolute', 'relative'])
    it(`follows an ${link} symlink inside the root alone`, async () => {
      const text = await fixture.output(`ls /outside/deep; ls -d /${link}`, mount(`/${link}/deep`));
      assert.equal(text, `file\ninner\n/${link}`);
      assert.equal(existsSync('/outside'), false);
    });

  it('mounts through a symlink onto a file', async () => {
    const file = mount('/to-file', { source: join(volume, 'file') });
    assert.equal(await fixture.output('cat /etc/passwd', file), 'content');
  });

  it('refuses a loop of symlinks', async () => {
    const spec = fixture.spec('', mount('/loop-a/x'));
    await assert.rejects(fixture.create(spec), /cannot mount onto container path "\/loop-a\/x"/);
  });

  it('keeps dots inside the root', async () => {
    assert.equal(await fixture.output('ls /up', mount('/data/../../../up')), 'file\ninner');
  });

  it('takes a mount source that is a symlink on the host', async () => {
    const link = join(fixture.folder, 'link');
    symlinkSync(volume, link);
    assert.equal(await fixture.output('ls /v', mount('/v', { source: link })), 'file\ninner');
  });

  const tryWrite = 'touch /v/new && echo top; touch /v/inner/new && echo inner; true';
  it('writes where it may', async () => {
    assert.equal(await fixture.output(tryWrite, mount('/v')), 'top\ninner');
    assert.ok(existsSync(join(volume, 'inner/new')));
  });
  it('of a read-only mount leaves mounts below it as they are', async () => {
    assert.equal(await fixture.output(tryWrite, mount('/v', { readonly: true })), 'inner');
  });
  it('makes mounts below it read-only too when asked', async () => {
    const all = { readonly: true, recursiveReadonly: true };
    assert.equal(await fixture.output(tryWrite, mount('/v', all)), '');
  });

  describe('propagation', () => {
    const late = async (propagation: BindMount['propagation']): Promise<string> => {
      const folder = join(volume, `late-${propagation}`);
      mkdirSync(folder);
      const spec = fixture.spec(
        `echo up; until [ -e /data/go ]; do sleep 0.02; done; ls /v/late-${propagation}`,
        mount('/v', { propagation }),
      );
      spec.mounts.push({ ...mount('/data', { source: join(fixture.folder, 'go') }).mounts[0]! });
      mkdirSync(join(fixture.folder, 'go'), { recursive: true });
      await fixture.run(spec);
      await until(() => fixture.log(spec).length === 1);
      execFileSync('mount', ['-t', 'tmpfs', 'none', folder]);
      writeFileSync(join(folder, 'seen'), '');
      writeFileSync(join(fixture.folder, 'go/go'), '');
      await fixture.wait(spec);
      execFileSync('rm', [join(fixture.folder, 'go/go')]);
      execFileSync('umount', [folder]);
      return fixture
        .log(spec)
        .slice(1)
        .map(([, , text]) => text)
        .join();
    };
    it('private keeps later mounts of the host out', async () => {
      assert.equal(await late('private'), '');
    });
    it('slave lets them in', async () => {
      assert.equal(await late('slave'), 'seen');
    });
    it('shared brings those of the container out', async () => {
      mkdirSync(join(volume, 'out'));
      const spec = fixture.spec('mount -t tmpfs none /v/out && touch /v/out/from-inside', {
        ...mount('/v', { propagation: 'shared' }),
        process: { capabilities: Array.from({ length: 41 }, (_, bit) => bit) },
      });
      await fixture.run(spec);
      assert.equal((await fixture.wait(spec)).exitCode, 0);
      assert.deepEqual(readdirSync(join(volume, 'out')), ['from-inside']);
    });
    it('shared is refused for a source that is not', async () => {
      const spec = fixture.spec('', mount('/v', { source: '/proc', propagation: 'shared' }));
      execFileSync('mount', ['-t', 'tmpfs', 'none', join(fixture.folder, 'go')]);
      execFileSync('mount', ['--make-private', join(fixture.folder, 'go')]);
      spec.mounts[0]!.source = join(fixture.folder, 'go');
      try {
        await assert.rejects(fixture.create(spec), /not on a shared mount/);
      } finally {
        execFileSync('umount', [join(fixture.folder, 'go')]);
      }
    });
  });

  it('makes the root read-only, and not what is mounted in it', async () => {
    const text = await fixture.output(
      'touch /x 2>/dev/null || echo no; touch /v/x && touch /dev/shm/x && echo yes; ls /dev/null',
      { ...mount('/v'), readonlyRootfs: true },
    );
    assert.equal(text, 'no\nyes\n/dev/null');
  });

  it('covers masked files and folders, and makes paths read-only', async () => {
    const text = await fixture.output(
      'cat /etc/passwd /etc/group; ls /bin /data; touch /bin/x /data/x /tmp/x 2>/dev/null; ls /tmp; echo x > /root/x; ls /root',
      {
        maskedPaths: ['/etc/passwd', '/etc/group', '/data', '/nope', '/etc/passwd/below', '/srv'],
        readonlyPaths: ['/tmp', '/also/not'],
      },
    );
    assert.equal(text.replace(/^\/bin:.*?\n\n/s, ''), '/data:\nx');
  });

  it('masks with the real null device, whatever the image brings', async () => {
    const target = join(fixture.folder, 'host-file');
    writeFileSync(target, 'host');
    const fakes = mount('/dev/null', { source: target });
    const spec = fixture.spec('', { ...fakes, maskedPaths: ['/etc/passwd'] });
    await assert.rejects(fixture.create(spec), /masked path "\/etc\/passwd"/);
    assert.equal(readFileSync(target, 'utf8'), 'host');
  });

  it('gives the usual devices and links', async () => {
    const text = await fixture.output(
      'for n in null zero full random urandom tty ptmx; do test -c /dev/$n || echo $n; done; ' +
        'for n in fd stdin stdout stderr core; do readlink /dev/$n; done; ' +
        'grep -c " /dev/shm tmpfs rw,nosuid,nodev,noexec" /proc/mounts; grep -c " /dev/mqueue " /proc/mounts; ' +
        'ls -d /dev/kmsg /dev/mem /dev/console 2>/dev/null; stat -c %a /dev/shm',
    );
    assert.equal(
      text,
      '/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n/proc/kcore\n1\n1\n1777',
    );
  });

  it('shows no mount of the host', async () => {
    const text = await fixture.output('cat /proc/self/mountinfo');
    assert.doesNotMatch(text, /rootfs-old|\/unified|shim/);
    const points = text.split('\n').map((line) => line.split(' ')[4]);
    assert.ok(points.includes('/'));
    assert.ok(points.includes('/proc'));
    assert.ok(!points.some((point) => point?.startsWith('/run')));
  });

  it('cannot make a read-only path writable again without the capability', async () => {
    const text = await fixture.output('mount -o remount,rw /proc/sys 2>&1; echo $?');
    assert.match(text, /1$/);
  });
});
