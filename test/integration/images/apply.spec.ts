/** Layers unpacked on top of each other, as storage without an overlay has them. */
import assert from 'node:assert/strict';
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { loadAddon } from '../../../src/native/binding.js';
import { file, folder, hardlink, opaque, symlink, whiteout } from '../../support/tar.js';
import type { TarEntry } from '../../support/tar.js';
import { removeTempFolder } from '../../support/temp.js';
import { layerEntries, type LayerStep } from '../../support/random-layers.js';
import { manifestOf, type TreeManifest } from '../../support/tree-manifest.js';
import { unpackLayer } from '../../support/unpack.js';
import { getAttribute } from '../../support/xattr.js';

describe('layers applied on top of each other', () => {
  let temp: string;
  beforeEach(() => {
    temp = mkdtempSync('/dev/shm/pvecri-test-');
  });
  afterEach(() => {
    assert.deepEqual(
      readdirSync(join(temp, 'outer')).filter((name) => name !== 'fs'),
      [],
    );
    removeTempFolder(temp);
  });

  const at = (name: string): string => join(temp, 'outer/fs', name);

  async function apply(...layers: TarEntry[][]): Promise<void> {
    for (const layer of layers) await unpackLayer(temp, { layer, mode: 'apply' });
  }

  it('removes what a whiteout names, whatever it is, and writes no mark', async () => {
    await apply(
      [file('f'), folder('d/'), file('d/x'), symlink('l', '/d'), file('kept/a'), file('kept/b')],
      [
        whiteout('f'),
        whiteout('d'),
        whiteout('l'),
        whiteout('kept/a'),
        whiteout('never'),
        whiteout('new/never'),
      ],
    );
    assert.deepEqual(Object.keys(manifestOf(at(''))).sort(), ['kept', 'kept/b', 'new']);
  });

  it('keeps of an opaque folder what the layer has put there, before and after the mark', async () => {
    const lower = [
      file('d/old'),
      file('d/both', 'old'),
      file('d/sub/old'),
      file('d/sub/deep/old'),
      folder('d/gone/'),
      symlink('d/link', '/e'),
      file('e/safe'),
    ];
    const upper = [file('d/before'), file('d/sub/before'), file('d/both', 'new')];
    await apply(lower, [...upper, opaque('d'), file('d/after')]);
    assert.deepEqual(readdirSync(at('d')).sort(), ['after', 'before', 'both', 'sub']);
    assert.deepEqual(readdirSync(at('d/sub')), ['before']);
    assert.equal(readFileSync(at('d/both'), 'utf8'), 'new');
    assert.deepEqual(readdirSync(at('e')), ['safe']);
    assert.equal(getAttribute(at('d'), 'user.overlay.opaque'), undefined);
    await apply([file('top'), opaque('.'), file('d/after', 'again')]);
    assert.deepEqual(Object.keys(manifestOf(at(''))).sort(), ['d', 'd/after', 'top']);
  });

  it('takes a whiteout of a folder that the layer has, too, as an opaque mark', async () => {
    await apply([file('d/old')], [file('d/new'), whiteout('d')]);
    assert.deepEqual(readdirSync(at('d')), ['new']);
    await apply([whiteout('d'), file('d/newest')]);
    assert.deepEqual(readdirSync(at('d')), ['newest']);
    await apply([file('f', 'new'), whiteout('f')]);
    assert.equal(readFileSync(at('f'), 'utf8'), 'new');
  });

  it('replaces by another type', async () => {
    const kinds = (name: string): TarEntry[] => [
      file(name, 'a file'),
      folder(`${name}/`),
      symlink(name, '/outside'),
      { name, type: '6' },
    ];
    const names = kinds('').flatMap((_, i) => kinds('').map((_, j) => `${i}-${j}`));
    await apply(
      names.flatMap((name) => {
        const entry = kinds(name)[Number(name[0])];
        return [entry, ...(entry?.type === '5' ? [file(`${name}/old`)] : [])].filter(isThere);
      }),
      names.map((name) => kinds(name)[Number(name[2])]).filter(isThere),
    );
    for (const name of names) {
      const kind = lstatSync(at(name)).mode & 0o170000;
      assert.equal(kind, [0o100000, 0o040000, 0o120000, 0o010000][Number(name[2])], name);
      const isMerged = name === '1-1';
      if (kind === 0o040000) assert.deepEqual(readdirSync(at(name)), isMerged ? ['old'] : [], name);
    }
  });

  it('leaves the other names of a replaced file alone', async () => {
    await apply(
      [file('a', 'old', { mode: 0o4755 }), hardlink('b', 'a')],
      [file('a', 'new', { mode: 0o600, uid: 7 })],
    );
    assert.equal(readFileSync(at('b'), 'utf8'), 'old');
    assert.equal(lstatSync(at('b')).mode & 0o7777, 0o4755);
    assert.equal(lstatSync(at('b')).uid, 0);
  });

  it('gives the root and folders what the layer says of them, and leaves others as they are', async () => {
    const old = { mode: 0o700, uid: 5, mtime: 1000 };
    const attribute = { 'SCHILY.xattr.user.old': 'x' };
    await apply(
      [folder('said/', { ...old, pax: attribute }), folder('implied/', { ...old, pax: attribute })],
      [folder('./', { mode: 0o711, uid: 3, gid: 4, mtime: 2000 }), folder('said/')],
      [file('implied/x'), whiteout('said')],
      [folder('said/', { mtime: 3000 }), file('said/x')],
    );
    const facts = (name: string): unknown[] => {
      const { mode, uid, mtimeMs } = lstatSync(at(name));
      return [mode & 0o7777, uid, mtimeMs / 1000];
    };
    assert.deepEqual(facts('implied'), [0o700, 5, 1000]);
    assert.equal(getAttribute(at('implied'), 'user.old')?.toString(), 'x');
    assert.deepEqual(facts('said'), [0o755, 0, 3000]);
    assert.equal(getAttribute(at('said'), 'user.old'), undefined);
    assert.deepEqual(facts(''), [0o711, 3, 2000]);
  });

  it('reads no configuration of its libraries from the layers', async () => {
    // A fifo would stop whoever opens it.
    const names = ['usr/lib/ssl/openssl.cnf', 'etc/ssl/openssl.cnf', 'etc/ld.so.cache'];
    const traps = names.map((name): TarEntry => ({ name, type: '6' }));
    const fromGconv = { name: 'usr/lib/x86_64-linux-gnu/gconv/gconv-modules', type: '6' };
    await apply([...traps, fromGconv], [file('grün', 'x', { pax: { path: 'grün' } })]);
    assert.equal(readFileSync(at('grün'), 'utf8'), 'x');
  });

  describe('a link of a lower layer', () => {
    beforeEach(() => {
      writeFileSync(join(temp, 'secret'), 'untouched', { mode: 0o600 });
    });
    afterEach(() => {
      assert.equal(readFileSync(join(temp, 'secret'), 'utf8'), 'untouched');
      assert.equal(lstatSync(join(temp, 'secret')).mode & 0o7777, 0o600);
    });

    it('is not followed: neither in a name nor at its end', async () => {
      await apply(
        [
          ...[file('etc/passwd', 'old'), symlink('in', 'etc'), symlink('out', '../..')],
          ...[symlink('f', 'etc/passwd'), symlink('m', '../../secret'), symlink('o', '../..')],
          ...[symlink('w', '../..'), symlink('h', '../../secret')],
        ],
        [
          ...[file('in/passwd', 'new'), file('out/secret', 'new'), file('f', 'new')],
          ...[folder('m/', { mode: 0o777 }), opaque('o'), whiteout('w/secret'), file('h', 'x')],
        ],
      );
      assert.equal(readFileSync(at('etc/passwd'), 'utf8'), 'old');
      for (const name of ['in', 'out', 'm', 'o', 'w']) {
        assert.ok(lstatSync(at(name)).isDirectory(), name);
      }
    });

    it('is swapped for a folder, and back, without what lies behind it being touched', async () => {
      await apply(
        [folder('d/'), file('d/secret', 'inner')],
        [symlink('d', '../..')],
        [folder('d/'), file('d/secret', 'new')],
        [symlink('d', '../..'), whiteout('d')],
      );
      assert.equal(readlinkSync(at('d')), '../..');
    });

    it('is nothing a hard link can reach', async () => {
      await apply([symlink('l', '../../secret'), file('old')]);
      for (const target of ['l', 'old']) {
        await assert.rejects(apply([hardlink('h', target)]), /which this layer does not have/);
      }
      await assert.rejects(apply([whiteout('old'), hardlink('h', 'old')]), /does not have/);
      await assert.rejects(apply([symlink('mine', 'd'), file('mine/x')]), /link to none in this/);
      await apply([file('d/x')]);
      await assert.rejects(apply([symlink('mine', 'd'), file('mine/x')]), /link to none in this/);
    });
  });

  it('refuses in the place of a whiteout what only hides a lower name', async () => {
    const layer = [whiteout('x'), hardlink('h', 'x')];
    await assert.rejects(unpackLayer(temp, { layer, mode: 'overlay' }), /does not have/);
  });

  describe('makes the tree that overlayfs makes of them', () => {
    const addon = loadAddon();

    async function both(layers: TarEntry[][]): Promise<[TreeManifest, TreeManifest]> {
      const here = mkdtempSync(join(temp, 'case-'));
      try {
        mkdirSync(join(temp, 'outer'), { recursive: true });
        const lower: string[] = [];
        for (const [index, layer] of layers.entries()) {
          const target = `overlay-${index}`;
          const report = await unpackLayer(here, { layer, target, mode: 'overlay' });
          if (report.rootOpaque) lower.length = 0;
          lower.unshift(join(here, target));
          await unpackLayer(here, { layer, target: 'applied', mode: 'apply' });
        }
        const [upper, work] = [join(here, 'upper'), join(here, 'work')];
        mkdirSync(upper);
        mkdirSync(work);
        const merged = await addon.mountOverlay({ lower, upper, work });
        try {
          return [
            manifestOf(`/proc/${process.pid}/fd/${merged}/`),
            manifestOf(join(here, 'applied')),
          ];
        } finally {
          closeSync(merged);
        }
      } finally {
        removeTempFolder(here);
      }
    }

    const step: fc.Arbitrary<LayerStep> = fc.record({
      path: fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3 }),
      kind: fc.constantFrom('folder', 'file', 'symlink', 'hardlink', 'fifo', 'whiteout', 'opaque'),
      seed: fc.nat(1000),
    });
    const layer = fc.array(step, { minLength: 1, maxLength: 10 });
    const layers = fc.array(layer, { minLength: 2, maxLength: 4 });

    for (const parents of ['said', 'implied'] as const) {
      it(`when parents are ${parents}`, async function () {
        this.timeout(60_000);
        const property = fc.asyncProperty(layers, async (drawn) => {
          const [merged, applied] = await both(drawn.map((steps) => layerEntries(steps, parents)));
          // An implied folder has its time from the lower layer, or from its making.
          if (parents === 'implied') [merged, applied].forEach(forgetFolderTimes);
          assert.deepEqual(applied, merged);
        });
        await fc.assert(property, { numRuns: 20 });
      });
    }
  });
});

function forgetFolderTimes(tree: TreeManifest): void {
  for (const facts of Object.values(tree)) if (/^0o4/.test(String(facts[0]))) facts[3] = 0;
}

function isThere<T>(value: T | undefined): value is T {
  return value !== undefined;
}
