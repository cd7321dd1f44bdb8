/** Which file is the network, and what makes a file unusable. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { findNetwork, parseNetwork } from '../../../../src/network/cni/conflist.js';
import { withTempFolder } from '../../../support/temp.js';

const list = (name: string, change: object = {}) =>
  JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type: 'bridge', x: 1 }], ...change });

describe('findNetwork', () => {
  it('finds nothing in a folder that is empty or missing', () =>
    withTempFolder(async (folder) => {
      const nothing = { network: undefined, problems: [] };
      assert.deepEqual(await findNetwork(folder), nothing);
      assert.deepEqual(await findNetwork(join(folder, 'missing')), nothing);
    }));

  it('takes the first valid file by name and tells why earlier ones were not', () =>
    withTempFolder(async (folder) => {
      await writeFile(join(folder, '00-readme.txt'), 'not a network');
      await writeFile(join(folder, '01-broken.conflist'), '{');
      await writeFile(join(folder, '02-empty.conflist'), list('x', { plugins: [] }));
      await mkdir(join(folder, '03-folder.conf'));
      execFileSync('mkfifo', [join(folder, '04-fifo.conflist')]);
      await symlink('/nonexistent', join(folder, '05-dangling.conflist'));
      await writeFile(join(folder, '06-huge.conflist'), ' '.repeat(1024 * 1024 + 1));
      await writeFile(join(folder, '20-second.conflist'), list('second'));
      await writeFile(join(folder, '10-first.conflist'), list('first'));
      const { network, problems } = await findNetwork(folder);
      assert.deepEqual(network, {
        name: 'first',
        cniVersion: '1.0.0',
        plugins: [{ type: 'bridge', x: 1 }],
      });
      assert.deepEqual(
        problems.map(({ path }) => path.slice(folder.length + 1)),
        [
          '01-broken.conflist',
          '02-empty.conflist',
          '03-folder.conf',
          '04-fifo.conflist',
          '06-huge.conflist',
        ],
      );
      assert.match(problems[1]?.reason ?? '', /plugins: must list at least one plugin/);
    }));
});

describe('parseNetwork', () => {
  it('makes a list of a single plugin configuration', () => {
    const network = parseNetwork('{"name":"n","cniVersion":"0.3.1","type":"ptp","mtu":9}', false);
    assert.equal(network.name, 'n');
    assert.equal(network.cniVersion, '0.3.1');
    assert.deepEqual(
      network.plugins.map(({ type, mtu }) => [type, mtu]),
      [['ptp', 9]],
    );
  });

  it('chooses the newest version that a file offers and the agent knows', () => {
    const version = (change: object) => parseNetwork(list('n', change), true).cniVersion;
    assert.equal(version({ cniVersions: ['0.4.0', '1.1.0', '9.0.0'] }), '1.1.0');
    assert.equal(version({ cniVersion: undefined }), '0.1.0');
    assert.throws(() => version({ cniVersion: '2.0.0' }), /cniVersion: \["2\.0\.0"\] is none of/);
  });

  it('refuses names that would leave the plugin folder, the cache or the line', () => {
    const bad = [
      '',
      '.',
      '..',
      '../sh',
      '/bin/sh',
      'a/b',
      'a\nb',
      'a\u0000',
      '-x',
      'a b',
      'a;b',
      'x'.repeat(256),
    ];
    for (const type of bad) {
      assert.throws(
        () => parseNetwork(list('n', { plugins: [{ type }] }), true),
        /plugins\.0\.type/,
      );
      assert.throws(() => parseNetwork(list(type), true), /name/);
      if (type === '') continue;
      const plugins = [{ type: 'bridge', ipam: { type } }];
      assert.throws(() => parseNetwork(list('n', { plugins }), true), /plugins\.0\.ipam\.type/);
    }
    parseNetwork(list('n', { plugins: [{ type: 'bridge', ipam: { type: '' } }] }), true);
    parseNetwork(list('n', { plugins: [{ type: 'bridge', ipam: {} }] }), true);
  });

  it('only ever returns names that are safe, whatever the JSON', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 10 }),
      fc.constantFrom('bridge', '..', 'a/b', '1.0.0'),
    );
    const plugin = fc.record({ type: text, ipam: fc.option(fc.record({ type: text })) });
    const json = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.record({ name: text, cniVersion: text, plugins: fc.array(plugin) }),
    );
    fc.assert(
      fc.property(json, fc.boolean(), (value, isList) => {
        let network;
        try {
          network = parseNetwork(JSON.stringify(value), isList);
        } catch {
          return;
        }
        for (const name of [network.name, ...network.plugins.map(({ type }) => type)]) {
          assert.match(name, /^\w[\w.+-]*$/);
        }
      }),
    );
  });
});
