import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readRegistryHosts, type RegistryHost } from '../../../../src/images/registry/hosts.js';
import { makeTempFolder, removeTempFolder } from '../../../support/temp.js';

describe('readRegistryHosts', () => {
  let temp: string;
  beforeEach(() => {
    temp = makeTempFolder();
  });
  afterEach(() => {
    removeTempFolder(temp);
  });

  /** A key and a certificate for it: what TLS would take. */
  function makePair(folder: string, name: string): void {
    mkdirSync(join(temp, folder), { recursive: true });
    const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1';
    const [key, cert] = ['key', 'cert'].map((suffix) => join(temp, folder, `${name}.${suffix}`));
    const files = ['-subj', `/CN=${name}`, '-keyout', key ?? '', '-out', cert ?? ''];
    execFileSync('openssl', [...request.split(' '), ...files], { stdio: 'ignore' });
  }
  const pem = (path: string): string => readFileSync(join(temp, path), 'utf8');

  function write(folder: string, text: string): void {
    mkdirSync(join(temp, folder), { recursive: true });
    writeFileSync(join(temp, folder, 'hosts.toml'), text);
  }
  const read = (registry: string, dir = temp): Promise<RegistryHost[]> =>
    readRegistryHosts(registry, dir);
  const bases = async (registry: string): Promise<string[]> =>
    (await read(registry)).map(({ base }) => base);

  it('asks the registry itself without a file: http on loopback alone', async () => {
    for (const [registry, base] of [
      ['docker.io', 'https://registry-1.docker.io/v2'],
      ['quay.io', 'https://quay.io/v2'],
      ['example.org:5000', 'https://example.org:5000/v2'],
      ['localhost', 'http://localhost/v2'],
      ['localhost:5000', 'http://localhost:5000/v2'],
      ['127.0.0.1:5000', 'http://127.0.0.1:5000/v2'],
      ['127.1.2.3', 'http://127.1.2.3/v2'],
      ['[::1]:5000', 'http://[::1]:5000/v2'],
      ['localhost.example.org', 'https://localhost.example.org/v2'],
      ['128.0.0.1', 'https://128.0.0.1/v2'],
    ] as const) {
      assert.deepEqual(await bases(registry), [base]);
      assert.deepEqual(
        (await read(registry, '')).map((host) => host.base),
        [base],
      );
    }
  });

  it('keeps the order and the fields of the file', async () => {
    makePair('quay.io', 'own');
    makePair('quay.io', 'other');
    writeFileSync(
      join(temp, 'quay.io/both.pem'),
      pem('quay.io/other.cert') + pem('quay.io/other.key'),
    );
    write(
      'quay.io',
      `server = "https://upstream.example"
skip_verify = true
dial_timeout = "1m30s"
[host."http://one:5000"]
capabilities = ["pull"]
[host."two.example/deep"]
override_path = true
client = "both.pem"
[host."https://three.example/proxy/"]
ca = "own.cert"
client = [["own.cert", "${temp}/quay.io/own.key"], "both.pem"]
header = { Authorization = "Basic eA==", X-Many = ["a", "b"] }
[host."https://four.example/v2/proxy"]
capabilities = []
ca = ["own.cert", "other.cert"]
dial_timeout = "250ms"
`,
    );
    const hosts = await read('quay.io');
    assert.deepEqual(
      hosts.map(({ base, isMirror, skipVerify, dialTimeoutMs }) => [
        base,
        isMirror,
        skipVerify,
        dialTimeoutMs,
      ]),
      [
        ['http://one:5000/v2', true, false, undefined],
        ['https://two.example/deep', true, false, undefined],
        ['https://three.example/proxy/v2', true, false, undefined],
        ['https://four.example/v2/proxy/v2', true, false, 250],
        ['https://upstream.example/v2', false, true, 90_000],
      ],
    );
    const [one, two, three, four] = hosts;
    assert.deepEqual([...(one?.capabilities ?? [])], ['pull']);
    const all = ['pull', 'resolve', 'push', 'referrers'];
    assert.deepEqual([...(two?.capabilities ?? [])], all);
    assert.deepEqual([...(four?.capabilities ?? [])], all);
    assert.deepEqual(three?.ca, [pem('quay.io/own.cert')]);
    assert.equal(four?.ca.length, 2);
    assert.deepEqual(three.headers, { Authorization: 'Basic eA==', 'X-Many': 'a, b' });
    const both = pem('quay.io/both.pem');
    assert.deepEqual(two?.clientCertificates, [{ cert: both, key: both }]);
    assert.deepEqual(three.clientCertificates, [
      { cert: pem('quay.io/own.cert'), key: pem('quay.io/own.key') },
      { cert: both, key: both },
    ]);
  });

  it("finds the folder as containerd does: without a colon, with one, or the default's", async () => {
    write('_default', '[host."http://mirror"]');
    assert.deepEqual(await bases('a.b:5'), ['http://mirror/v2', 'https://a.b:5/v2']);
    write('a.b:5', '[host."http://exact"]');
    assert.deepEqual((await bases('a.b:5'))[0], 'http://exact/v2');
    write('a.b_5_', '[host."http://underscored"]');
    assert.deepEqual((await bases('a.b:5'))[0], 'http://underscored/v2');
  });

  it("takes docker's certificate files where there is no hosts.toml", async () => {
    write('_default', '[host."http://mirror"]');
    makePair('a.b', 'me');
    writeFileSync(join(temp, 'a.b/ca.crt'), pem('a.b/me.cert'));
    const [host, ...more] = await read('a.b');
    assert.deepEqual([host?.base, more], ['https://a.b/v2', []]);
    assert.deepEqual(host?.ca, [pem('a.b/me.cert')]);
    assert.deepEqual(host.clientCertificates, [
      { cert: pem('a.b/me.cert'), key: pem('a.b/me.key') },
    ]);
  });

  for (const [text, message] of [
    ['server = ', /cannot use .*hosts.toml/],
    [
      '[host."http://x"]\ndial_timeout = "soon"',
      /"soon"|no duration[^]*host\["http:\/\/x"\]\.dial_timeout/,
    ],
    ['[host."http://x"]\ndial_timeout = "-1s"', /dial_timeout/],
    ['[host."http://x"]\nmystery = 1', /mystery/],
    ['[host."http://x"]\nclient = [["a", "b", "c"]]', /client/],
    [
      '[host."http://x"]\nclient = "hosts.toml"',
      /host "http:\/\/x": client hosts.toml are no certificate/,
    ],
    ['ca = "hosts.toml"', /ca hosts.toml holds no PEM certificate/],
    ['[host."http://x"]\nheader = { "a b" = "c" }', /no name of a header/],
    ['[host."http://x"]\nheader = { a = "b\\nc" }', /no header may have/],
    ['server = "ftp://x"', /"ftp:\/\/x" is no URL/],
    ['server = "https://user:pw@x"', /is no URL/],
    ['[host."http://x"]\ncapabilities = ["fly"]', /capabilities/],
    ['[host."http://x"]\nca = "absent.pem"', /absent.pem/],
  ] as const) {
    it(`refuses ${JSON.stringify(text)}`, async () => {
      write('quay.io', text);
      await assert.rejects(read('quay.io'), { kind: 'failed-precondition', message });
    });
  }
});
