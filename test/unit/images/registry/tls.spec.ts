/** Registries by https, with certificates that the system does not know. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { parseImageReference } from '../../../../src/core/image-reference.js';
import type { RootDocument } from '../../../../src/images/source/image-source.js';
import { createRegistryOpener } from '../../../../src/images/registry/source.js';
import { buildImage } from '../../../support/oci-image.js';
import { makeTempFolder, removeTempFolder } from '../../../support/temp.js';

describe('registry by https', () => {
  const { manifest } = buildImage({ layers: [] });
  let temp: string;
  let server: Server;
  let port: number;
  let redirect = '';

  before(async () => {
    temp = makeTempFolder();
    const [key, cert] = [join(temp, 'key.pem'), join(temp, 'cert.pem')];
    const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1';
    const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const files = ['-keyout', key, '-out', cert];
    execFileSync('openssl', [...request.split(' '), ...names, ...files], { stdio: 'ignore' });
    server = createServer({ key: readFileSync(key), cert: readFileSync(cert) });
    server.on('request', (_, response) => {
      if (redirect !== '') response.writeHead(302, { location: redirect }).end();
      else response.writeHead(200, { 'content-type': manifest.mediaType }).end(manifest.bytes);
    });
    await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
    ({ port } = server.address() as AddressInfo);
  });
  after(() => {
    server.closeAllConnections();
    server.close();
    removeTempFolder(temp);
  });
  afterEach(() => {
    redirect = '';
  });

  async function resolve(hostsToml: string): Promise<RootDocument> {
    const folder = join(temp, 'registry.example');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'hosts.toml'), hostsToml);
    const reference = parseImageReference('registry.example/a:1');
    const source = await createRegistryOpener(() => temp)({ kind: 'registry', reference }, null);
    return source.resolve(new AbortController().signal);
  }

  it('refuses what no authority vouches for, at once', async () => {
    const before = Date.now();
    await assert.rejects(resolve(`server = "https://localhost:${port}"`), {
      kind: 'registry-unavailable',
      message: /self-signed certificate \(hosts.toml can name its ca\)/,
    });
    assert.ok(Date.now() - before < 1000);
  });

  it('takes the ca of hosts.toml, for its name alone', async () => {
    const ca = 'ca = "../cert.pem"';
    const { digest } = await resolve(`server = "https://localhost:${port}"\n${ca}`);
    assert.equal(digest, manifest.digest);
    await assert.rejects(resolve(`server = "https://127.0.0.1:${port}"\n${ca}`), {
      kind: 'registry-unavailable',
    });
  });

  it('looks at no certificate when told so', async () => {
    const { digest } = await resolve(`server = "https://localhost:${port}"\nskip_verify = true`);
    assert.equal(digest, manifest.digest);
  });

  it('follows no redirect to http', async () => {
    redirect = `http://localhost:${port}/`;
    await assert.rejects(resolve(`server = "https://localhost:${port}"\nskip_verify = true`), {
      kind: 'permission-denied',
      message: /from https to http/,
    });
  });
});
