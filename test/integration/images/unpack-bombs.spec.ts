/** What the unpack helper makes of layers that were made to fill up or wear down the host. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { RuntimeError } from '../../../src/core/errors.js';
import type { UnpackReport } from '../../../src/core/ports/storage.js';
import { removeTree } from '../../../src/util/remove-tree.js';
import { file, folder, hardlink, makeTar, symlink, type TarEntry } from '../../support/tar.js';
import { measureUnpack, type UnpackTry } from '../../support/unpack.js';

/** zstd's and xz's largest window takes 128; the rest is much less. */
const MOST_MIB = 48;

for (const mode of ['overlay', 'apply'] as const) {
  describe(`unpack of a bomb: ${mode}`, () => {
    let temp: string;
    beforeEach(() => {
      temp = mkdtempSync('/dev/shm/pvecri-test-');
    });
    afterEach(() => removeTree(temp));
    const at = (name: string): string => join(temp, 'outer/fs', name);

    async function unpack(options: UnpackTry, mostMiB = MOST_MIB): Promise<UnpackReport> {
      const { outcome, peakMiB } = await measureUnpack(temp, { mode, diffId: '', ...options });
      assert.ok(peakMiB < mostMiB, `${peakMiB} MiB`);
      if (outcome instanceof RuntimeError) throw outcome;
      return outcome;
    }
    const usedKiB = (): number =>
      Number(execFileSync('du', ['-sk', at('')], { encoding: 'utf8' }).split('\t')[0]);

    // What reads the stream does not know the mode.
    if (mode === 'overlay') {
      describe('that expands:', () => {
        // Behind the end of the archive, so that it takes no disk here.
        const zeros = Buffer.alloc(64 << 20);
        const filter = (command: string, ...flags: string[]): Buffer =>
          execFileSync(command, ['-c', ...flags], { input: zeros });
        const bombs: Record<string, () => Buffer> = {
          gzip: () => gzipSync(zeros),
          zstd: () => filter('zstd', '-q', '-19'),
          xz: () => filter('xz', '-1'),
        };
        for (const [name, make] of Object.entries(bombs)) {
          it(`${name}, ${name === 'zstd' ? 'by the default limits' : 'by a lower one'}`, async () => {
            const member = make();
            const blob = Buffer.concat(Array.from({ length: 20 }, () => member));
            const limits = name === 'zstd' ? {} : { ratioFloor: 100 << 20 };
            await assert.rejects(unpack({ layer: [], blob, limits, allowXz: true }), {
              kind: 'resource-exhausted',
              message: /more than 200 times its size/,
            });
          });
        }

        it('within a file, by limits of its own', async () => {
          const layer = makeTar([file('zeros', zeros)]);
          const blob = execFileSync('zstd', ['-qc'], { input: layer });
          await assert.rejects(
            unpack({ layer, blob, limits: { ratioFloor: 1 << 20, maxRatio: 20 } }),
            { kind: 'resource-exhausted', message: /more than 20 times its size/ },
          );
          await assert.rejects(unpack({ layer, blob, limits: { maxBytes: 4 << 20 } }), {
            kind: 'resource-exhausted',
            message: /4194304 bytes/,
          });
          assert.ok(usedKiB() < 8 << 10);
        });

        it('by a window that zstd would need gigabytes for', async () => {
          const blob = execFileSync('zstd', ['-qc', '--long=31', '--ultra', '-20'], {
            input: makeTar([file('x', 'y'.repeat(1 << 20))]),
          });
          // A frame of known size has no larger window than that; one that was streamed has.
          await assert.rejects(unpack({ layer: [], blob }, 200), {
            kind: 'data-loss',
            message: /the zstd stream is damaged: .*(too much memory|not supported)/,
          });
        });
      });

      it('a million and one empty entries', async () => {
        const header = makeTar([{ name: 'device', type: '3' }]).subarray(0, 512);
        const block = Buffer.concat(Array.from({ length: 20_000 }, () => header));
        const member = execFileSync('zstd', ['-qc'], { input: block });
        const blob = Buffer.concat(Array.from({ length: 51 }, () => member));
        await assert.rejects(unpack({ layer: [], blob }), {
          kind: 'resource-exhausted',
          message: /more than 1000000 entries/,
        });
        assert.deepEqual(readdirSync(at('')), []);
      });
    }

    describe('of many entries:', () => {
      it('of which each implies a thousand folders', async () => {
        const layer = Array.from({ length: 20 }, (_, i) => file(`${i}/${'x/'.repeat(1000)}f`));
        await assert.rejects(unpack({ layer, limits: { maxEntries: 5000 } }), {
          kind: 'resource-exhausted',
          message: /more than 5000 entries/,
        });
        const made = execFileSync('sh', ['-c', `find ${at('')} | wc -l`], { encoding: 'utf8' });
        assert.ok(Number(made) < 7000);
      });

      it('that go deep, and name what is deep by links', async () => {
        const deep = 'x/'.repeat(2000);
        const report = await unpack({
          layer: [
            file(`${deep}f`, 'y'),
            symlink('l', deep),
            file('l/g', 'z'),
            hardlink('h', `${deep}g`),
          ],
        });
        assert.equal(report.inodes, 2003);
        assert.equal(lstatSync(at('h')).nlink, 2);
      });
    });

    describe('in its headers:', () => {
      // libarchive reads at most so many of each kind.
      const refused: Record<string, TarEntry[]> = {
        'a pax header of 4 GiB': [{ name: 'pax', type: 'x', size: 2 ** 32 }, file('f')],
        'a global one': [{ name: 'pax', type: 'g', size: 2 ** 32 }, file('f')],
        'a long name of 4 GiB': [{ name: 'l', type: 'L', size: 2 ** 32 }, file('f')],
        'a long link of 4 GiB': [{ name: 'l', type: 'K', size: 2 ** 32 }, file('f')],
        'a pax header of 8 MiB': [file('f', '', { pax: { comment: 'x'.repeat(8 << 20) } })],
        'a value of 2 MiB': [
          file('f', '', { pax: { 'SCHILY.xattr.user.a': 'x'.repeat(2 << 20) } }),
        ],
      };
      for (const [name, layer] of Object.entries(refused)) {
        it(name, async () => {
          await assert.rejects(unpack({ layer }), { kind: /data-loss|invalid-argument/ });
        });
      }

      it('attributes: too large, too many, too long a name', async () => {
        const many = (count: number, length: number): TarEntry =>
          file('f', '', {
            pax: Object.fromEntries(
              Array.from({ length: count }, (_, i) => [
                `SCHILY.xattr.user.${i}`,
                'x'.repeat(length),
              ]),
            ),
          });
        for (const entry of [many(1, 66_000), many(10_000, 8), many(100, 1000)]) {
          await assert.rejects(unpack({ layer: [entry] }), {
            kind: 'invalid-argument',
            message: /more than 64 KiB of extended attributes/,
          });
        }
        const pax = { [`SCHILY.xattr.user.${'n'.repeat(300)}`]: 'x' };
        await assert.rejects(unpack({ layer: [file('f', '', { pax })] }), {
          kind: 'invalid-argument',
          message: /cannot set attribute/,
        });
        // The same file again and again: what it has had is counted as well.
        const again = Array.from({ length: 8 }, () => many(1, 60_000));
        await assert.rejects(unpack({ layer: again, limits: { maxBytes: 300_000 } }), {
          kind: 'resource-exhausted',
        });
      });
    });

    describe('in its sizes:', () => {
      const TIB = 2n ** 40n;
      const pax1 = (size: bigint, map: string): TarEntry =>
        file('GNUSparseFile.0/huge', map.padEnd(512, '\0') + 'data', {
          pax: {
            'GNU.sparse.major': '1',
            'GNU.sparse.minor': '0',
            'GNU.sparse.name': 'huge',
            'GNU.sparse.realsize': String(size),
          },
        });
      const pax01 = (size: bigint, at: bigint): TarEntry =>
        file('huge', 'data', {
          pax: {
            'GNU.sparse.size': String(size),
            'GNU.sparse.numblocks': '1',
            'GNU.sparse.map': `${at},4`,
            'GNU.sparse.name': 'huge',
          },
        });
      const pax00 = (size: bigint, at: bigint): TarEntry =>
        file('huge', 'data', {
          pax: {
            'GNU.sparse.size': String(size),
            'GNU.sparse.numblocks': '1',
            'GNU.sparse.offset': String(at),
            'GNU.sparse.numbytes': '4',
          },
        });
      const base256 = (value: bigint, length: number): Buffer => {
        const bytes = Buffer.from(value.toString(16).padStart(length * 2, '0'), 'hex');
        bytes[0] = 0x80;
        return bytes;
      };
      // GNU's old header: four pairs of offset and length at 386, the real size at 483.
      const old = (size: bigint, at: bigint): TarEntry => ({
        name: 'huge',
        type: 'S',
        data: 'data',
        patch: {
          257: 'ustar  \0',
          386: base256(at, 12),
          398: '00000000004\0',
          483: base256(size, 12),
        },
      });
      const sparse: Record<string, (size: bigint, at: bigint) => TarEntry> = {
        'the old way of GNU': old,
        'pax 0.0': pax00,
        'pax 0.1': pax01,
        'pax 1.0': (size, offset) => pax1(size, `1\n${offset}\n4\n`),
      };
      for (const [name, make] of Object.entries(sparse)) {
        it(`a sparse file, ${name}`, async () => {
          await assert.rejects(unpack({ layer: [make(TIB, 0n)] }), {
            kind: 'resource-exhausted',
            message: /the layer's files are larger than/,
          });
          const gib32 = 2n ** 35n;
          await unpack({ layer: [make(gib32, gib32 - 4n)] });
          assert.equal(lstatSync(at('huge')).size, Number(gib32));
          assert.ok(usedKiB() < 100);
          // Twice that is the limit; holes count.
          await assert.rejects(
            unpack({ layer: [1, 2, 3].map(() => make(gib32, 0n)) }),
            /the layer's files are larger than/,
          );
          // Data behind the end that the header says.
          await assert.rejects(unpack({ layer: [make(8n, TIB)] }));
          assert.ok(usedKiB() < 100);
        });
      }

      it('a sparse map that never ends', async () => {
        const map = `1000000000\n${'0\n0\n'.repeat(100_000)}`;
        await assert.rejects(unpack({ layer: [pax1(8n, map)] }), { kind: 'data-loss' });
      });

      it('a size that is not there, and one below zero', async () => {
        await assert.rejects(unpack({ layer: [file('big', 'x', { size: 1e15 })] }), {
          kind: 'resource-exhausted',
          message: /the layer's files are larger than/,
        });
        await assert.rejects(unpack({ layer: [file('big', 'x', { size: 1e9 })] }), {
          kind: 'data-loss',
        });
        for (const size of ['-1', '-9223372036854775808', '99999999999999999999', 'NaN']) {
          await assert.rejects(unpack({ layer: [file('odd', 'x', { pax: { size } })] }));
        }
        const negative = { 124: Buffer.alloc(12, 0xff) };
        await assert.rejects(unpack({ layer: [{ ...file('odd', 'x'), patch: negative }] }));
      });

      it('folders and links that claim to have data', async () => {
        await unpack({
          layer: [
            folder('d/', { data: 'x'.repeat(5000) }),
            { ...symlink('l', 'd'), data: 'x'.repeat(5000) },
            { ...hardlink('h', 'l'), size: 0 },
          ],
        }).catch((error: unknown) => {
          assert.match(String(error), /no sound tar archive|entry/);
        });
        assert.ok(usedKiB() < 100);
      });
    });
  });
}
