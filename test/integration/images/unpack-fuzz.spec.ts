/** Archives with random faults: the helper takes them or says why not, and writes nothing elsewhere. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { RuntimeError } from '../../../src/core/errors.js';
import { removeTree } from '../../../src/util/remove-tree.js';
import { mutate, randomNumbers } from '../../support/tar-mutation.js';
import { file, folder, hardlink, makeTar, opaque, symlink, whiteout } from '../../support/tar.js';
import { unpackLayer } from '../../support/unpack.js';

/** More, with another helper or seed, by hand: FUZZ_ROUNDS=5000 FUZZ_SEED=2 FUZZ_HELPER=… */
const ROUNDS = Number(process.env['FUZZ_ROUNDS'] ?? 80);
const SEED = Number(process.env['FUZZ_SEED'] ?? 1);
const HELPER = process.env['FUZZ_HELPER'];

describe('unpack of faulty archives', () => {
  let temp: string;
  let seeds: Buffer[];
  beforeEach(() => {
    temp = mkdtempSync('/dev/shm/pvecri-test-');
    mkdirSync(join(temp, 'outer'));
    writeFileSync(join(temp, 'outer/secret'), 'untouched', { mode: 0o600 });
    seeds = [ownSeed(), gnuSeed()];
  });
  afterEach(() => removeTree(temp));

  function ownSeed(): Buffer {
    return makeTar([
      folder('./', { mode: 0o755 }),
      folder('a/'),
      file('a/b', 'x'.repeat(700), { pax: { 'SCHILY.xattr.user.x': 'y', mtime: '1.5' } }),
      hardlink('a/c', 'a/b'),
      symlink('l', '../..'),
      file('l', 'y'),
      whiteout('gone'),
      opaque('a'),
      { name: 'fifo', type: '6' },
      file('x'.repeat(150), 'z'),
      { ...hardlink('k', 'a/c'), pax: { linkpath: 'a/b' } },
    ]);
  }

  /** What GNU tar writes: long names, an old sparse file and one by pax. */
  function gnuSeed(): Buffer {
    const source = join(temp, 'source');
    const long = 'n'.repeat(120);
    execFileSync('sh', [
      '-ec',
      `mkdir -p ${source}/${long}; cd ${source}; ln -s ${long} ${long}/l; truncate -s 100k s; echo data >> s`,
    ]);
    const tar = (...flags: string[]): Buffer =>
      execFileSync('tar', ['-C', source, '-S', '-cf', '-', ...flags, '.']);
    // Without its end the first one goes on into the second.
    return Buffer.concat([tar('--format=gnu').subarray(0, 4096), tar('--format=pax')]);
  }

  for (const mode of ['overlay', 'apply'] as const) {
    it(`by ${mode}`, async function () {
      this.timeout(60_000 + ROUNDS * 500);
      const random = randomNumbers(SEED * 7919);
      const outcomes = { taken: 0, refused: 0 };
      for (let round = 0; round < ROUNDS; round += 1) {
        const layer = mutate(seeds[round % seeds.length] ?? Buffer.alloc(0), random);
        // Now and then the stream around it as well.
        const blob = round % 10 === 9 ? mutate(gzipSync(layer), random) : layer;
        try {
          const limits = { maxBytes: 64 << 20, maxEntries: 1000 };
          const helper = HELPER === undefined ? {} : { helper: HELPER };
          await unpackLayer(temp, { layer, blob, diffId: '', mode, limits, ...helper });
          outcomes.taken += 1;
        } catch (error) {
          assert.ok(error instanceof RuntimeError);
          const kinds = ['invalid-argument', 'data-loss', 'resource-exhausted'];
          const shown = `${error.message} in round ${round}: ${layer.toString('base64')}`;
          assert.ok(kinds.includes(error.kind), shown);
          outcomes.refused += 1;
        }
        assert.deepEqual(readdirSync(join(temp, 'outer')).sort(), ['fs', 'secret']);
        if (round % 7 === 6) await removeTree(join(temp, 'outer/fs'));
      }
      assert.equal(readFileSync(join(temp, 'outer/secret'), 'utf8'), 'untouched');
      assert.ok(
        outcomes.taken > ROUNDS / 10 && outcomes.refused > ROUNDS / 10,
        JSON.stringify(outcomes),
      );
    });
  }
});
