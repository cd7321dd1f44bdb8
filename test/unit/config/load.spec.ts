/** Files, drop-ins and what is refused, with file, key, value and expectation named. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { stringify } from 'smol-toml';
import { loadConfig } from '../../../src/config/load.js';
import { configKeys, configSchema } from '../../../src/config/schema.js';
import { RuntimeError } from '../../../src/core/errors.js';
import { withTempFolder } from '../../support/temp.js';

async function load(text: string, dropIns: Record<string, string> = {}) {
  return withTempFolder(async (folder) => {
    const file = join(folder, 'config.toml');
    await writeFile(file, text);
    await mkdir(join(folder, 'config.d'));
    for (const [name, content] of Object.entries(dropIns)) {
      await writeFile(join(folder, 'config.d', name), content);
    }
    const loaded = await loadConfig(file);
    const relative = (path: string) => path.slice(folder.length + 1);
    return {
      ...loaded,
      files: loaded.files.map(relative),
      sources: new Map([...loaded.sources].map(([key, path]) => [key, relative(path)])),
    };
  });
}

async function refusal(text: string, dropIns?: Record<string, string>): Promise<string> {
  try {
    await load(text, dropIns);
  } catch (error) {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, 'invalid-argument');
    assert.ok(!error.message.includes('\n'), 'one line');
    return error.message;
  }
  return assert.fail(`not refused: ${text}`);
}

describe('loadConfig', () => {
  it('takes the defaults from an empty file', async () => {
    const { config, sources } = await load('');
    assert.equal(config.root, '/var/lib/pvecri');
    assert.equal(config.log.level, 'info');
    assert.deepEqual(config.network.bin_dirs, ['/opt/cni/bin', '/usr/lib/cni']);
    assert.equal(sources.size, 0);
  });

  it('merges drop-ins in lexical order and tells which file set what', async () => {
    const { config, sources, files } = await load('root = "/a"\n[streaming]\nport = 1\n', {
      '20-b.toml': '[streaming]\nport = 3\n',
      '10-a.toml': '[streaming]\nport = 2\naddress = "::1"\n[network]\nbin_dirs = ["/x"]',
      'ignored.txt': 'not toml at all',
      '.hidden.toml': '= =',
    });
    assert.deepEqual(files, ['config.toml', 'config.d/10-a.toml', 'config.d/20-b.toml']);
    assert.equal(config.root, '/a');
    assert.deepEqual(config.streaming, { address: '::1', port: 3 });
    assert.deepEqual(config.network.bin_dirs, ['/x']);
    assert.equal(sources.get('streaming.port'), 'config.d/20-b.toml');
    assert.equal(sources.get('streaming.address'), 'config.d/10-a.toml');
    assert.equal(sources.has('log.level'), false);
  });

  it('refuses a named file that is missing', async () => {
    await assert.rejects(loadConfig('/nonexistent/config.toml'), {
      kind: 'invalid-argument',
      message: /^cannot read configuration \/nonexistent\/config\.toml: ENOENT/,
    });
  });

  it('names the nearest known key for an unknown one', async () => {
    assert.match(
      await refusal('[log]\nlevle = "info"\n'),
      /config\.toml: unknown key log\.levle; the nearest known key is log\.level$/,
    );
    assert.match(await refusal('sokcet = "/x"'), /unknown key sokcet; .* socket$/);
    assert.match(
      await refusal('', { 'a.toml': '[netwrok]\nconf_dir = "/x"' }),
      /config\.d\/a\.toml: unknown key netwrok/,
    );
    assert.match(await refusal('"__proto__" = 1'), /unknown key __proto__/);
    assert.match(await refusal('"a\\nb" = 1'), /unknown key "a\\nb"/);
  });

  it('names file, key, value and what is expected for a wrong value', async () => {
    const cases: [text: string, expected: RegExp][] = [
      ['root = 5', /config\.toml: key root is 5: expected an absolute path/],
      ['root = "relative"', /key root is "relative": expected an absolute path/],
      ['root = "/a/../b"', /key root is "\/a\/\.\.\/b"/],
      ['root = "/"', /and not "\/" itself/],
      ['root = "/a\\nb"', /key root is "\/a\\nb"/],
      ['root = "/a\\u0000"', /key root is/],
      [`socket = "/${'x'.repeat(107)}"`, /of at most 107 bytes$/],
      [`socket = "/${'é'.repeat(54)}"`, /of at most 107 bytes$/],
      ['log = "info"', /key log is "info": expected a table/],
      ['[log]\nlevel = "loud"', /key log\.level is "loud": expected one of "trace"/],
      ['[streaming]\nport = 65536', /key streaming\.port is 65536: expected an integer from 0/],
      ['[streaming]\nport = 1.5', /key streaming\.port is 1\.5/],
      ['[streaming]\nport = nan', /key streaming\.port is NaN/],
      ['[streaming]\naddress = "0.0.0.0"', /streaming\.address is "0\.0\.0\.0": .* loopback/],
      ['[streaming]\naddress = "127.1"', /loopback/],
      ['[network]\nbin_dirs = "/x"', /key network\.bin_dirs is "\/x": expected a list/],
      ['[network]\nbin_dirs = []', /key network\.bin_dirs is \[\]/],
      ['[network]\nbin_dirs = ["/x", 3]', /key network\.bin_dirs is \["\/x",3\]/],
      ['[network]\nbin_dirs = ["/x:/y"]', /and no ":"/],
      ['[cgroup]\ndriver = "runc"', /cgroup\.driver is "runc": expected "cgroupfs" or "systemd"/],
      ['root = 1979-05-27', /key root is "1979-05-27"/],
    ];
    for (const [text, expected] of cases) assert.match(await refusal(text), expected);
  });

  for (const address of ['9812', 'localhost:9812', '127.0.0.1', '127.0.0.1:65536', '::1:9812']) {
    it(`refuses the address ${address} for metrics`, async () => {
      const text = `[metrics]\naddress = "${address}"`;
      assert.match(await refusal(text), /key metrics\.address is .*expected "", or IP:PORT/);
    });
  }

  it('tells all problems of all files at once', async () => {
    const message = await refusal('root = 1\nx = 1', { 'a.toml': 'state = 2' });
    assert.match(message, /key root is 1.*; .*unknown key x.*; .*a\.toml: key state is 2/);
  });

  it('gives line and column of a syntax error', async () => {
    assert.match(await refusal('root = "/a"\nroot ='), /config\.toml:2:\d+: not TOML: /);
  });

  it('refuses root and state inside one another', async () => {
    assert.match(await refusal('root = "/a"\nstate = "/a/b"'), /inside one another/);
    assert.match(await refusal('root = "/a/b"\nstate = "/a"'), /inside one another/);
    assert.match(await refusal('root = "/a"\nstate = "/a"'), /inside one another/);
    await load('root = "/a"\nstate = "/ab"');
  });

  it('takes the switches and time limits of NRI, and no others', async () => {
    const { config } = await load('[nri]\nenable = true\nplugin_request_timeout = "1.5s"');
    assert.deepEqual([config.nri.enable, config.nri.plugin_request_timeout], [true, '1.5s']);
    assert.match(await refusal('[nri]\nenable = "yes"'), /expected true or false/);
    for (const time of ['5', '1ms', '1h', '-1s'])
      assert.match(
        await refusal(`[nri]\nplugin_request_timeout = "${time}"`),
        /from "100ms" to "5m"/,
      );
  });

  it('reads back any valid configuration it is given', async () => {
    const path = fc
      .array(fc.stringMatching(/^[a-zA-Z0-9 "'\\\u00e9#=]{1,8}$/), { minLength: 1, maxLength: 3 })
      .map((parts) => `/${parts.join('/')}`);
    // noNullPrototype: deepEqual compares prototypes.
    const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
      fc.record<T>(model, { noNullPrototype: true });
    const arbitrary = record({
      root: path.map((p) => `/root${p}`),
      state: path.map((p) => `/state${p}`),
      socket: path,
      log: record({ level: fc.constantFrom('trace', 'debug', 'info', 'warn', 'error') }),
      streaming: record({
        address: fc.constantFrom('127.0.0.1', '127.8.9.10', '::1'),
        port: fc.integer({ min: 0, max: 65535 }),
      }),
      images: record({ hosts_dir: path, policy: path }),
      metrics: record({
        address: fc.constantFrom('', '127.0.0.1:9812', '0.0.0.0:0', '[::1]:65535'),
      }),
      network: record({ conf_dir: path, bin_dirs: fc.array(path, { minLength: 1 }) }),
    });
    await fc.assert(
      fc.asyncProperty(arbitrary, async (value) => {
        const { config } = await load(stringify(value));
        assert.deepEqual(config, configSchema.parse(value));
        assert.equal(config.root, value.root);
        assert.deepEqual(config.network.bin_dirs, value.network.bin_dirs);
      }),
      { numRuns: 40 },
    );
  });

  it('never throws anything but a RuntimeError of one line, whatever the text', async () => {
    const fragment = fc.constantFrom(
      ...configKeys.map(({ path }) => path),
      ...['=', '"', '[', ']', '\n', '{', '}', '#', "'''", '1', 'true', '/a', '\\u0000', ','],
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fragment, { maxLength: 12 }), async (parts) => {
        try {
          await load(parts.join(''));
        } catch (error) {
          assert.ok(error instanceof RuntimeError, String(error));
          assert.ok(!error.message.includes('\n'));
        }
      }),
      { numRuns: 100 },
    );
  });
});
