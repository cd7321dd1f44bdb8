/** What the unpack helper makes of layers that were made to break out or to deceive. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { removeTree } from '../../../src/util/remove-tree.js';
import { digestOf } from '../../support/oci-image.js';
import { file, folder, hardlink, makeTar, opaque, symlink, whiteout } from '../../support/tar.js';
import type { TarEntry } from '../../support/tar.js';
import type { UnpackReport } from '../../../src/core/ports/storage.js';
import { manifestOf } from '../../support/tree-manifest.js';
import { getAttribute } from '../../support/xattr.js';
import { unpackLayer, type UnpackTry } from '../../support/unpack.js';

for (const mode of ['overlay', 'apply'] as const) {
  describe(`unpack of a hostile layer: ${mode}`, () => {
    let temp: string;
    beforeEach(() => {
      temp = mkdtempSync('/dev/shm/pvecri-test-');
      mkdirSync(join(temp, 'outer'));
      writeFileSync(secret(), 'untouched', { mode: 0o600 });
    });
    afterEach(async () => {
      mkdirSync(at(''), { recursive: true });
      assert.equal(readFileSync(secret(), 'utf8'), 'untouched');
      const { mode: secretMode, uid, nlink } = lstatSync(secret());
      assert.deepEqual([secretMode & 0o7777, uid, nlink], [0o600, 0, 1]);
      assert.deepEqual(readdirSync(join(temp, 'outer')).sort(), ['fs', 'secret']);
      assert.equal(existsSync('/pvecri-test-escape'), false);
      await removeTree(temp);
    });

    const secret = (): string => join(temp, 'outer/secret');
    const unpack = (options: UnpackTry): Promise<UnpackReport> =>
      unpackLayer(temp, { mode, ...options });
    const at = (name: string): string => join(temp, 'outer/fs', name);

    const refused: Record<string, [TarEntry[], RegExp]> = {
      'a name with ..': [[file('../secret', 'x')], /entry "..\/secret" leads out of its folder/],
      'a name with .. inside': [[file('a/../../secret', 'x')], /leads out of its folder/],
      'a hard link to ..': [[hardlink('h', '../secret')], /leads out of its folder/],
      'a long name of GNU tar with ..': [
        [{ name: '././@LongLink', type: 'L', data: `a/../../secret\0` }, file('x', 'y')],
        /leads out of its folder/,
      ],
      'a pax name with ..': [[file('x', 'y', { pax: { path: '../secret' } })], /leads out of its/],
      'a pax link with ..': [
        [{ ...hardlink('x', 'y'), pax: { linkpath: '../secret' } }],
        /leads out of its folder/,
      ],
      'a hard link to nothing': [[hardlink('h', '/etc/passwd')], /this layer does not have/],
      'a hard link to a file outside, through a link': [
        [symlink('up', '../..'), hardlink('h', 'up/secret')],
        /this layer does not have/,
      ],
      'a hard link to a file outside, by its absolute name': [
        [hardlink('h', '/proc/self/root/etc/passwd')],
        /this layer does not have/,
      ],
      'a hard link to the root': [[hardlink('h', './')], /this layer does not have/],
      'a hard link to a folder': [[folder('d/'), hardlink('h', 'd')], /hard link to folder "d"/],
      'a whiteout of ..': [[whiteout('..')], /is a whiteout of no name/],
      'a whiteout of .': [[whiteout('d/.')], /is a whiteout of no name/],
      'a whiteout of nothing': [[whiteout('d/')], /is a whiteout of no name/],
      'an opaque mark of ..': [[file('../.wh..wh..opq')], /leads out of its folder/],
      'a whiteout as a folder': [[file('.wh.d/x')], /uses a whiteout as a folder/],
      'a root that is a link': [[symlink('./', '/etc')], /can only be a folder/],
      'a file as a folder': [[file('f'), file('f/x')], /"f" is used as a folder, but is none/],
      'a link to nothing as a folder': [
        [symlink('l', '/pvecri-test-escape'), file('l/x')],
        /"l" is used as a folder, but is a symbolic link to none/,
      ],
      'a link in a loop as a folder': [[symlink('l', 'l'), file('l/x')], /symbolic link/],
      'a component of 256 bytes': [[file('x'.repeat(256))], /longer than 255 bytes/],
      'a path of 4 KiB': [[file('x/'.repeat(2100))], /longer than 4095 bytes/],
      'a path of a megabyte': [[file('x/'.repeat(490_000))], /longer than 4095 bytes/],
      'the owner that means nobody': [
        [file('f', '', { uid: 0xffffffff })],
        /which no file can have/,
      ],
      'a huge owner': [[file('f', '', { pax: { uid: '99999999999' } })], /which no file can have/],
    };
    for (const [title, [layer, message]] of Object.entries(refused)) {
      it(`refuses ${title}`, async () => {
        await assert.rejects(unpack({ layer }), {
          kind: 'invalid-argument',
          message,
        });
      });
    }

    it('refuses a name that is too long to be read at all', async () => {
      await assert.rejects(unpack({ layer: [file('x/'.repeat(2_000_000))] }), {
        kind: 'data-loss',
        message: /no sound tar archive/,
      });
    });

    it('takes absolute names as names in the layer', async () => {
      await unpack({ layer: [file('/pvecri-test-escape', 'x'), file('//etc//./y', 'y')] });
      assert.equal(readFileSync(at('pvecri-test-escape'), 'utf8'), 'x');
      assert.equal(readFileSync(at('etc/y'), 'utf8'), 'y');
    });

    it('follows links of the layer inside the layer alone', async () => {
      await unpack({
        layer: [
          folder('etc/'),
          symlink('absolute', '/etc'),
          file('absolute/one', '1'),
          symlink('up', '../../../../../../etc'),
          file('up/two', '2'),
          symlink('etc/out', '../..'),
          file('etc/out/three', '3'),
          hardlink('four', 'up/one'),
        ],
      });
      assert.deepEqual(readdirSync(at('etc')).sort(), ['one', 'out', 'two']);
      assert.equal(readFileSync(at('three'), 'utf8'), '3');
      assert.equal(readFileSync(at('four'), 'utf8'), '1');
    });

    it('writes no file through a link, and changes no target of one', async () => {
      await unpack({
        layer: [
          symlink('f', '../secret'),
          file('f', 'replaced', { mode: 0o777 }),
          symlink('h', '../secret'),
          hardlink('linked', 'h'),
          symlink('d', '..'),
          folder('d/', { mode: 0o777, uid: 7 }),
          symlink('w', '../secret'),
          whiteout('w'),
          symlink('o', '..'),
          opaque('o'),
        ],
      });
      assert.equal(readFileSync(at('f'), 'utf8'), 'replaced');
      assert.equal(readlinkSync(at('linked')), '../secret');
      assert.deepEqual(readdirSync(at('d')), []);
    });

    it('gives the target of a link no mode, owner, time or attribute (CVE-2021-32760)', async () => {
      const loud = { mode: 0o6777, uid: 7, gid: 7, mtime: 5, pax: { 'SCHILY.xattr.user.x': 'y' } };
      await unpack({
        layer: [
          { ...symlink('l', '../secret'), ...loud },
          { ...hardlink('h', 'l'), ...loud },
          symlink('fifo', '../secret'),
          { name: 'fifo', type: '6', ...loud },
          symlink('d', '..'),
          { ...folder('d/'), ...loud },
          symlink('device', '../secret'),
          { name: 'device', type: '3', ...loud },
        ],
      });
      assert.equal(readlinkSync(at('h')), '../secret');
      assert.equal(readlinkSync(at('device')), '../secret');
      assert.ok(lstatSync(at('fifo')).isFIFO());
    });

    it('empties the layer, and nothing else, by an opaque mark and whiteouts in the root', async () => {
      await unpack({ layer: [file('old'), file('d/old')] });
      const report = await unpack({
        layer: [opaque('/'), opaque('./.'), whiteout('d'), whiteout('/outer'), file('d/new')],
      });
      assert.equal(report.rootOpaque, mode === 'overlay');
      if (mode === 'apply') assert.deepEqual(Object.keys(manifestOf(at(''))), ['d', 'd/new']);
    });

    it('makes no device, whatever it is called', async () => {
      await unpack({
        layer: [
          { name: 'null', type: '3', patch: { 329: '0000001\0', 337: '0000003\0' } },
          { name: 'disk', type: '4', patch: { 329: '0000010\0', 337: '0000000\0' } },
          { name: '.wh.disk', type: '4' },
          { name: 'd/.wh..wh..opq', type: '3' },
        ],
      });
      const found = Object.entries(manifestOf(at('')));
      // A whiteout is a device of overlayfs's own, number 0:0, which opens nothing.
      assert.deepEqual(
        found.map(([name]) => name),
        mode === 'overlay' ? ['d', 'disk'] : ['d'],
      );
      if (mode === 'overlay') assert.equal(lstatSync(at('disk')).rdev, 0);
    });

    it('lets no set-id bit or capability count while it unpacks, nor a wrong one in', async () => {
      // Revision 3 has the user namespace's root in it: 1000.
      const foreign = Buffer.from('0100000300200000000000000000000000000000e8030000', 'hex');
      const name = 'SCHILY.xattr.security.capability';
      const program = { mode: 0o6755, pax: { [name]: foreign } };
      await unpack({ layer: [file('su', '#!/bin/sh', program)] });
      assert.equal(lstatSync(at('su')).mode & 0o7777, 0o6755);
      assert.deepEqual(getAttribute(at('su'), 'security.capability'), foreign);
      for (const value of ['x'.repeat(100), '\xff'.repeat(20)]) {
        const pax = { [name]: value };
        await assert.rejects(unpack({ layer: [file('su', '', { pax })] }), {
          kind: 'invalid-argument',
          message: /cannot set attribute "security.capability"/,
        });
      }
    });

    it('takes nothing from a global header', async () => {
      const pax = 'path=../secret\nuid=7\nlinkpath=../secret\n';
      const records = pax
        .trim()
        .split('\n')
        .map((line) => `${line.length + 4} ${line}\n`);
      await unpack({ layer: [{ name: 'g', type: 'g', data: records.join('') }, file('x', 'y')] });
      assert.deepEqual(readdirSync(at('')), ['x']);
    });

    it('refuses what /proc would lead to', async () => {
      await assert.rejects(
        unpack({ layer: [symlink('p', '/proc/self/root'), file('p/pvecri-test-escape')] }),
        { message: /symbolic link to none in this layer/ },
      );
    });

    it('removes a very deep tree that a later entry replaces', async () => {
      const step = `x/${`${'y'.repeat(9)}/`.repeat(99)}`;
      const layer: TarEntry[] = [folder(step)];
      // Each link reaches the end of the last: deeper than any path can say.
      for (let i = 0; i < 60; i += 1) {
        layer.push(symlink(`l${i}`, i === 0 ? step : `l${i - 1}/${step}`), folder(`l${i}/${step}`));
      }
      layer.push(file('x', 'flat'));
      // A chain of links ends at the kernel's forty; either way nothing may be left behind or hang.
      try {
        await unpack({ layer });
        assert.equal(readFileSync(at('x'), 'utf8'), 'flat');
      } catch (error) {
        assert.match(String(error), /Too many levels of symbolic links/);
      }
      // A walk that the kernel starts anew goes on counting, twice at most: 13 links always pass.
      await unpack({ layer: [...layer.slice(0, 26), file('x', 'flat')] });
      assert.equal(readFileSync(at('x'), 'utf8'), 'flat');
    });

    describe('believes no digest:', () => {
      const layer = makeTar([
        file('a', Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * i) >> 7))),
      ]);
      const blob = gzipSync(layer);

      it('another diff_id', async () => {
        await assert.rejects(unpack({ layer, diffId: digestOf('other') }), {
          kind: 'data-loss',
          message: /not the diff_id sha256:/,
        });
      });

      it('another digest of the blob', async () => {
        await assert.rejects(unpack({ layer, blob, digest: digestOf('other') }), {
          kind: 'data-loss',
          message: /the blob's digest is/,
        });
      });

      it('a blob cut short', async () => {
        const zstd = execFileSync('zstd', ['-qc'], { input: layer });
        for (const whole of [blob, zstd]) {
          await assert.rejects(unpack({ layer, blob: whole.subarray(0, -20) }), {
            kind: 'data-loss',
            message: /truncated/,
          });
        }
        await assert.rejects(unpack({ layer, length: layer.length + 1 }), {
          kind: 'data-loss',
          message: /truncated/,
        });
        await assert.rejects(unpack({ layer: layer.subarray(0, 2048) }), {
          kind: 'data-loss',
          message: /[Tt]runcated/,
        });
      });

      it('a damaged blob, and what follows its end', async () => {
        const damaged = Buffer.from(blob);
        damaged.fill(0xff, 1000, 1100);
        for (const wrong of [damaged, Buffer.concat([blob, Buffer.from('junk')])]) {
          await assert.rejects(unpack({ layer, blob: wrong }), {
            kind: 'data-loss',
            message: /the gzip stream is damaged/,
          });
        }
        await assert.rejects(unpack({ layer: Buffer.from('no archive'.repeat(200)) }), {
          kind: 'data-loss',
          message: /no sound tar archive/,
        });
      });
    });

    it('ends when it is told to', async () => {
      const layer = makeTar([file('big', Buffer.alloc(96 << 20))]);
      const stop = new AbortController();
      const blob = gzipSync(layer, { level: 1 });
      const unpacking = unpack({ layer, blob, signal: stop.signal });
      setTimeout(() => {
        stop.abort(new Error('enough'));
      }, 30);
      await assert.rejects(unpacking, /enough/);
    });
  });
}
