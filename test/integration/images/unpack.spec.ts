/** What the unpack helper makes of honest layers. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { digestOf } from '../../support/oci-image.js';
import { file, folder, hardlink, makeTar, opaque, symlink, whiteout } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';
import type { UnpackReport } from '../../../src/core/ports/storage.js';
import { unpackLayer, type UnpackTry } from '../../support/unpack.js';
import { getAttribute } from '../../support/xattr.js';

/** cap_net_raw=ep, as setcap(8) writes it: revision 2, effective bit, bit 13. */
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex');

for (const mode of ['overlay', 'apply'] as const) {
  describe(`unpack of a layer: ${mode}`, () => {
    let temp: string;
    beforeEach(() => {
      temp = makeTempFolder();
    });
    afterEach(() => {
      removeTempFolder(temp);
    });

    const unpack = (options: UnpackTry): Promise<UnpackReport> =>
      unpackLayer(temp, { mode, ...options });
    const at = (name: string): string => join(temp, 'outer/fs', name);
    const facts = (name: string): unknown[] => {
      const { mode, uid, gid, mtimeMs } = lstatSync(at(name));
      return [mode & 0o7777, uid, gid, mtimeMs / 1000];
    };

    it('keeps owners, modes, times, links and types', async () => {
      await unpack({
        layer: [
          folder('./', { mode: 0o700, uid: 1, gid: 2 }),
          folder('d/', { mode: 0o2775, uid: 3, gid: 4, mtime: 86_400 }),
          file('d/plain', 'x'),
          file('d/owned', 'y', { uid: 4_294_967_294, gid: 4_294_967_294, mode: 0o604 }),
          file('setuid', 'z', { mode: 0o6755, uid: 1000, gid: 2000 }),
          hardlink('d/hard', 'setuid'),
          symlink('link', '/etc/passwd'),
          { name: 'fifo', type: '6', mode: 0o1620, uid: 7 },
        ],
      });
      assert.deepEqual(facts(''), [0o700, 1, 2, 1e9]);
      assert.deepEqual(facts('d'), [0o2775, 3, 4, 86_400]);
      // Not the group of its set-gid folder.
      assert.deepEqual(facts('d/plain'), [0o644, 0, 0, 1e9]);
      assert.deepEqual(facts('d/owned'), [0o604, 4_294_967_294, 4_294_967_294, 1e9]);
      assert.deepEqual(facts('setuid'), [0o6755, 1000, 2000, 1e9]);
      assert.equal(lstatSync(at('d/hard')).ino, lstatSync(at('setuid')).ino);
      assert.equal(readlinkSync(at('link')), '/etc/passwd');
      assert.ok(lstatSync(at('fifo')).isFIFO());
      assert.deepEqual(facts('fifo'), [0o1620, 7, 0, 1e9]);
    });

    it('keeps file capabilities and user attributes, and drops the others', async () => {
      await unpack({
        layer: [
          file('ping', 'x', {
            uid: 5,
            pax: {
              'SCHILY.xattr.security.capability': CAPABILITY,
              'SCHILY.xattr.user.note': 'kept',
              'SCHILY.xattr.user.overlay.opaque': 'y',
              'SCHILY.xattr.trusted.overlay.opaque': 'y',
              'SCHILY.xattr.security.selinux': 'label',
            },
          }),
          folder('d/', { pax: { 'SCHILY.xattr.user.overlay.opaque': 'y' } }),
        ],
      });
      assert.deepEqual(getAttribute(at('ping'), 'security.capability'), CAPABILITY);
      assert.equal(getAttribute(at('ping'), 'user.note')?.toString(), 'kept');
      for (const name of ['user.overlay.opaque', 'trusted.overlay.opaque', 'security.selinux']) {
        assert.equal(getAttribute(at('ping'), name), undefined, name);
      }
      assert.equal(getAttribute(at('d'), 'user.overlay.opaque'), undefined);
    });

    if (mode === 'overlay') {
      it('turns whiteouts into what overlayfs reads', async () => {
        const report = await unpack({
          layer: [
            whiteout('gone'),
            whiteout('d/gone'),
            opaque('o'),
            file('.wh..wh.plnk'),
            file('.wh..wh..opq'),
          ],
        });
        for (const name of ['gone', 'd/gone']) {
          const { rdev } = lstatSync(at(name));
          assert.ok(lstatSync(at(name)).isCharacterDevice() && rdev === 0, name);
        }
        assert.equal(getAttribute(at('o'), 'user.overlay.opaque')?.toString(), 'y');
        assert.equal(report.rootOpaque, true);
        assert.deepEqual(readdirSync(at('')).sort(), ['d', 'gone', 'o']);
      });
    }

    it('lets later entries replace earlier ones', async () => {
      await unpack({
        layer: [
          folder('tree/'),
          folder('tree/a/'),
          file('tree/a/b'),
          file('tree', 'a file now'),
          file('was-file', 'long content'),
          file('was-file', 'short', { mode: 0o600 }),
          symlink('was-link', 'tree'),
          folder('was-link/'),
          file('was-link/inside', 'x'),
          file('was-folder/implied', 'x'),
          symlink('was-folder', 'was-link'),
          file('was-folder/through', 'y'),
          file('twice', '1'),
          hardlink('linked', 'twice'),
          hardlink('linked', 'twice'),
          folder('kept/'),
          file('kept/x'),
          folder('kept/', { mode: 0o711 }),
        ],
      });
      assert.equal(readFileSync(at('tree'), 'utf8'), 'a file now');
      assert.equal(readFileSync(at('was-file'), 'utf8'), 'short');
      assert.deepEqual(facts('was-file'), [0o600, 0, 0, 1e9]);
      assert.deepEqual(readdirSync(at('was-link')).sort(), ['inside', 'through']);
      assert.ok(lstatSync(at('was-folder')).isSymbolicLink());
      // What a link has hidden of lower layers stays hidden by the folder in its place.
      const mark = getAttribute(at('was-link'), 'user.overlay.opaque');
      assert.equal(mark?.toString(), mode === 'overlay' ? 'y' : undefined);
      assert.equal(getAttribute(at('kept'), 'user.overlay.opaque'), undefined);
      assert.equal(lstatSync(at('linked')).nlink, 2);
      assert.deepEqual(readdirSync(at('kept')), ['x']);
      assert.deepEqual(facts('kept'), [0o711, 0, 0, 1e9]);
    });

    it('keeps names that are no UTF-8, no ASCII, long', async () => {
      const latin = Buffer.from([0x66, 0xfc, 0x72]);
      const long = `${'ü'.repeat(100)}/${'x'.repeat(250)}`;
      await unpack({
        layer: [{ name: latin, data: 'x' }, file('grün', 'y'), file(long, 'z')],
      });
      const names = readdirSync(temp + '/outer/fs', { encoding: 'buffer' });
      assert.ok(names.some((name) => name.equals(latin)));
      assert.equal(readFileSync(at('grün'), 'utf8'), 'y');
      assert.equal(readFileSync(at(long), 'utf8'), 'z');
    });

    it('reads gzip in several members, zstd in several frames, and sparse files of GNU tar', async () => {
      const source = join(temp, 'source');
      execFileSync('sh', [
        '-ec',
        `mkdir ${source}; cd ${source}; truncate -s 5M hole; printf data | dd of=hole bs=1 seek=1M conv=notrunc 2>&1`,
      ]);
      const tar = execFileSync('tar', ['-C', source, '-S', '-cf', '-', 'hole']);
      const half = Math.floor(tar.length / 2);
      const [head, tail] = [tar.subarray(0, half), tar.subarray(half)];
      const zstd = (input: Buffer): Buffer => execFileSync('zstd', ['-qc'], { input });
      // zstd:chunked puts tables for itself into skippable frames.
      const skippable = Buffer.from('502a4d1803000000616263', 'hex');
      for (const blob of [
        Buffer.concat([gzipSync(head), gzipSync(tail)]),
        Buffer.concat([skippable, zstd(head), skippable, zstd(tail), skippable]),
      ]) {
        await unpack({ layer: tar, blob, digest: digestOf(blob) });
        const { size, blocks } = lstatSync(at('hole'));
        assert.equal(size, 5 << 20);
        assert.ok(blocks * 512 < 1 << 20);
        assert.equal(readFileSync(at('hole')).toString('latin1', 1 << 20, (1 << 20) + 4), 'data');
      }
    });

    it('reads xz where it is allowed, in several streams, and says what the content is', async () => {
      const tar = makeTar([file('a', 'x'.repeat(100_000)), file('b', '2')]);
      const xz = (input: Buffer, ...flags: string[]): Buffer =>
        execFileSync('xz', ['-c', ...flags], { input });
      const blob = Buffer.concat([xz(tar.subarray(0, 7000)), xz(tar.subarray(7000))]);
      await assert.rejects(unpack({ layer: tar, blob }), {
        kind: 'invalid-argument',
        message: /is compressed by xz/,
      });
      const report = await unpack({ layer: tar, blob, diffId: '', allowXz: true });
      assert.equal(report.diffId, digestOf(tar));
      assert.equal(readFileSync(at('a')).length, 100_000);
      // 1 GiB of dictionary; the header alone says so.
      const wide = xz(tar, '--lzma2=dict=1GiB');
      await assert.rejects(unpack({ layer: tar, blob: wide, allowXz: true }), {
        kind: 'resource-exhausted',
        message: /the xz stream takes 10\d\d MiB of memory to unpack, and may take 128/,
      });
      for (const length of [20, blob.length - 20]) {
        const short = blob.subarray(0, length);
        await assert.rejects(unpack({ layer: tar, blob: short, allowXz: true }), {
          kind: 'data-loss',
          message: /the xz stream is truncated/,
        });
      }
      const damaged = Buffer.from(blob).fill(0xff, 40, 50);
      await assert.rejects(unpack({ layer: tar, blob: damaged, allowXz: true }), {
        kind: 'data-loss',
        message: /the xz stream is damaged/,
      });
    });

    it('takes an empty archive, one without an end mark, and padding after it', async () => {
      const whole = makeTar([file('a', '1')]);
      for (const layer of [
        Buffer.alloc(0),
        Buffer.alloc(1024),
        whole.subarray(0, -1024),
        Buffer.concat([whole, Buffer.alloc(100_000)]),
      ]) {
        await unpack({ layer });
      }
      assert.deepEqual(readdirSync(at('')), ['a']);
    });

    it('skips device nodes and counts what it made', async () => {
      const report = await unpack({
        layer: [
          { name: 'null', type: '3' },
          { name: 'disk', type: '4' },
          folder('d/'),
          file('d/f', Buffer.alloc(10_000)),
        ],
      });
      assert.deepEqual(readdirSync(at('')), ['d']);
      assert.deepEqual(report, {
        diffId: report.diffId,
        bytes: 10_000 + 2 * 4096,
        inodes: 2,
        rootOpaque: false,
        rootOwner: null,
      });
    });
  });
}
