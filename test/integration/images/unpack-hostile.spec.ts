/** What the unpack helper makes of layers that were made to break out, fill up or wear down the host. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
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
import { makeTempFolder } from '../../support/temp.js';
import { unpackLayer } from '../../support/unpack.js';

describe('unpack of a hostile layer', () => {
  let temp: string;
  beforeEach(() => {
    temp = makeTempFolder();
    mkdirSync(join(temp, 'outer'));
    writeFileSync(join(temp, 'outer/secret'), 'untouched', { mode: 0o600 });
  });
  afterEach(async () => {
    mkdirSync(at(''), { recursive: true });
    assert.equal(readFileSync(join(temp, 'outer/secret'), 'utf8'), 'untouched');
    assert.deepEqual(readdirSync(join(temp, 'outer')).sort(), ['fs', 'secret']);
    assert.equal(existsSync('/pvecri-test-escape'), false);
    await removeTree(temp);
  });

  const at = (name: string): string => join(temp, 'outer/fs', name);

  const refused: Record<string, [TarEntry[], RegExp]> = {
    'a name with ..': [[file('../secret', 'x')], /entry "..\/secret" leads out of its folder/],
    'a name with .. inside': [[file('a/../../secret', 'x')], /leads out of its folder/],
    'a hard link to ..': [[hardlink('h', '../secret')], /leads out of its folder/],
    'a hard link to nothing': [[hardlink('h', '/etc/passwd')], /this layer does not have/],
    'a hard link to a folder': [[folder('d/'), hardlink('h', 'd')], /hard link to folder "d"/],
    'a whiteout of ..': [[whiteout('..')], /is a whiteout of no name/],
    'a whiteout of .': [[whiteout('d/.')], /is a whiteout of no name/],
    'a whiteout of nothing': [[whiteout('d/')], /is a whiteout of no name/],
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
    'the owner that means nobody': [[file('f', '', { uid: 0xffffffff })], /which no file can have/],
    'a huge owner': [[file('f', '', { pax: { uid: '99999999999' } })], /which no file can have/],
  };
  for (const [title, [layer, message]] of Object.entries(refused)) {
    it(`refuses ${title}`, async () => {
      await assert.rejects(unpackLayer(temp, { layer }), {
        kind: 'invalid-argument',
        message,
      });
    });
  }

  it('refuses a name that is too long to be read at all', async () => {
    await assert.rejects(unpackLayer(temp, { layer: [file('x/'.repeat(2_000_000))] }), {
      kind: 'data-loss',
      message: /no sound tar archive/,
    });
  });

  it('takes absolute names as names in the layer', async () => {
    await unpackLayer(temp, { layer: [file('/pvecri-test-escape', 'x'), file('//etc//./y', 'y')] });
    assert.equal(readFileSync(at('pvecri-test-escape'), 'utf8'), 'x');
    assert.equal(readFileSync(at('etc/y'), 'utf8'), 'y');
  });

  it('follows links of the layer inside the layer alone', async () => {
    await unpackLayer(temp, {
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
    await unpackLayer(temp, {
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

  it('refuses what /proc would lead to', async () => {
    await assert.rejects(
      unpackLayer(temp, { layer: [symlink('p', '/proc/self/root'), file('p/pvecri-test-escape')] }),
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
      await unpackLayer(temp, { layer });
      assert.equal(readFileSync(at('x'), 'utf8'), 'flat');
    } catch (error) {
      assert.match(String(error), /Too many levels of symbolic links/);
    }
    // A walk that the kernel starts anew goes on counting, twice at most: 13 links always pass.
    await unpackLayer(temp, { layer: [...layer.slice(0, 26), file('x', 'flat')] });
    assert.equal(readFileSync(at('x'), 'utf8'), 'flat');
  });

  describe('stops at its limits:', () => {
    const zeros = makeTar([file('zeros', Buffer.alloc(8 << 20))]);
    const bombs = {
      gzip: gzipSync(zeros),
      zstd: execFileSync('zstd', ['-qc'], { input: zeros }),
    };
    for (const [name, blob] of Object.entries(bombs)) {
      it(`a ${name} bomb`, async () => {
        await assert.rejects(
          unpackLayer(temp, { layer: zeros, blob, limits: { ratioFloor: 1 << 20, maxRatio: 20 } }),
          { kind: 'resource-exhausted', message: /more than 20 times its size/ },
        );
        await assert.rejects(
          unpackLayer(temp, { layer: zeros, blob, limits: { maxBytes: 4 << 20 } }),
          { kind: 'resource-exhausted', message: /4194304 bytes/ },
        );
      });
    }

    it('a million empty entries', async () => {
      // Nine bytes of name each; made at once, for a tar of half a gigabyte is no test fixture.
      const [header] = [makeTar([whiteout('x')]).subarray(0, 512)];
      const many = Buffer.alloc(512 * 2000);
      for (let i = 0; i < 2000; i += 1) header.copy(many, i * 512);
      await assert.rejects(unpackLayer(temp, { layer: many, limits: { maxEntries: 1000 } }), {
        kind: 'resource-exhausted',
        message: /more than 1000 entries/,
      });
    });

    it('a sparse file of an exbyte, a size that is not there, one below zero', async () => {
      const sparse = file('huge', '0\n', {
        pax: {
          'GNU.sparse.major': '1',
          'GNU.sparse.minor': '0',
          'GNU.sparse.realsize': `${2n ** 60n}`,
        },
      });
      await assert.rejects(unpackLayer(temp, { layer: [sparse] }), {
        kind: /resource-exhausted|data-loss/,
      });
      await assert.rejects(unpackLayer(temp, { layer: [file('big', 'x', { size: 1e15 })] }), {
        kind: 'resource-exhausted',
        message: /the layer's files are larger than/,
      });
      for (const size of ['-1', '-9223372036854775808', '99999999999999999999']) {
        await assert.rejects(unpackLayer(temp, { layer: [file('odd', 'x', { pax: { size } })] }));
      }
    });

    it('a pax header of 4 GiB', async () => {
      await assert.rejects(
        unpackLayer(temp, { layer: [{ name: 'pax', type: 'x', size: 2 ** 32 }, file('f')] }),
        { kind: 'data-loss' },
      );
    });
  });

  describe('believes no digest:', () => {
    const layer = makeTar([
      file('a', Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * i) >> 7))),
    ]);
    const blob = gzipSync(layer);

    it('another diff_id', async () => {
      await assert.rejects(unpackLayer(temp, { layer, diffId: digestOf('other') }), {
        kind: 'data-loss',
        message: /not the diff_id sha256:/,
      });
    });

    it('another digest of the blob', async () => {
      await assert.rejects(unpackLayer(temp, { layer, blob, digest: digestOf('other') }), {
        kind: 'data-loss',
        message: /the blob's digest is/,
      });
    });

    it('a blob cut short', async () => {
      const zstd = execFileSync('zstd', ['-qc'], { input: layer });
      for (const whole of [blob, zstd]) {
        await assert.rejects(unpackLayer(temp, { layer, blob: whole.subarray(0, -20) }), {
          kind: 'data-loss',
          message: /truncated/,
        });
      }
      await assert.rejects(unpackLayer(temp, { layer, length: layer.length + 1 }), {
        kind: 'data-loss',
        message: /truncated/,
      });
      await assert.rejects(unpackLayer(temp, { layer: layer.subarray(0, 2048) }), {
        kind: 'data-loss',
        message: /[Tt]runcated/,
      });
    });

    it('a damaged blob, and what follows its end', async () => {
      const damaged = Buffer.from(blob);
      damaged.fill(0xff, 1000, 1100);
      for (const wrong of [damaged, Buffer.concat([blob, Buffer.from('junk')])]) {
        await assert.rejects(unpackLayer(temp, { layer, blob: wrong }), {
          kind: 'data-loss',
          message: /the gzip stream is damaged/,
        });
      }
      await assert.rejects(unpackLayer(temp, { layer: Buffer.from('no archive'.repeat(200)) }), {
        kind: 'data-loss',
        message: /no sound tar archive/,
      });
    });
  });

  it('ends when it is told to', async () => {
    // Random, so that it takes a while.
    const layer = makeTar([file('big', Buffer.alloc(256 << 20))]);
    const stop = new AbortController();
    const unpacking = unpackLayer(temp, { layer, blob: gzipSync(layer), signal: stop.signal });
    setTimeout(() => {
      stop.abort(new Error('enough'));
    }, 50);
    await assert.rejects(unpacking, /enough/);
  });
});
