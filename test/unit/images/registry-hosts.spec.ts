import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readRegistryHosts, type RegistryHost } from '../../../src/images/registry-hosts.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('readRegistryHosts', () => {
  let temp: string;
  beforeEach(() => {
    temp = makeTempFolder();
  });
  afterEach(() => {
    removeTempFolder(temp);
  });

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
    write(
      'quay.io',
      `server = "https://upstream.example"
skip_verify = true
[host."http://one:5000"]
capabilities = ["pull"]
[host."two.example/deep"]
override_path = true
[host."https://three.example/proxy"]
ca = "ca.pem"
header = { Authorization = "Basic eA==", X-Many = ["a", "b"] }
[host."https://four.example/v2/proxy"]
`,
    );
    writeFileSync(join(temp, 'quay.io/ca.pem'), 'PEM');
    const hosts = await read('quay.io');
    assert.deepEqual(
      hosts.map(({ base, isMirror, skipVerify }) => [base, isMirror, skipVerify]),
      [
        ['http://one:5000/v2', true, false],
        ['https://two.example/deep', true, false],
        ['https://three.example/proxy/v2', true, false],
        ['https://four.example/v2/proxy', true, false],
        ['https://upstream.example/v2', false, true],
      ],
    );
    assert.deepEqual([...(hosts[0]?.capabilities ?? [])], ['pull']);
    assert.deepEqual([...(hosts[1]?.capabilities ?? [])], ['pull', 'resolve']);
    assert.deepEqual(hosts[2]?.ca, ['PEM']);
    assert.deepEqual(hosts[2].headers, { Authorization: 'Basic eA==', 'X-Many': 'a, b' });
  });

  it('finds the folder by host and port, in both spellings, or the default', async () => {
    write('_default', '[host."http://mirror"]');
    assert.deepEqual(await bases('a.b:5'), ['http://mirror/v2', 'https://a.b:5/v2']);
    write('a.b_5_', '[host."http://underscored"]');
    assert.deepEqual((await bases('a.b:5'))[0], 'http://underscored/v2');
    write('a.b:5', '[host."http://exact"]');
    assert.deepEqual((await bases('a.b:5'))[0], 'http://exact/v2');
  });

  for (const [text, message] of [
    ['server = ', /cannot use .*hosts.toml/],
    ['[host."http://x"]\ndial_timeout = "1s"', /dial_timeout/],
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
