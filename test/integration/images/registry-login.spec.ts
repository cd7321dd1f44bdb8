/** Pushes to and pulls from real registries that ask who one is: passwords, tokens, certificates. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseImageReference } from '../../../src/core/image-reference.js';
import type { ImageRecord } from '../../../src/core/model.js';
import type { RegistryAuth } from '../../../src/core/ports/images.js';
import { createRegistryPusher } from '../../../src/images/registry/push.js';
import { createRegistryOpener } from '../../../src/images/registry/source.js';
import { blobsIn } from '../../support/blob-reader.js';
import { makeAuthority, makeCertificate } from '../../support/certificates.js';
import { startDockerRegistry, type DockerRegistry } from '../../support/docker-registry.js';
import type { HttpServer } from '../../support/http-server.js';
import { openImages, type OpenedImages } from '../../support/images.js';
import { buildImage } from '../../support/oci-image.js';
import { file } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';
import { ISSUER, SERVICE, startTokenServer } from '../../support/token-server.js';

const nobody: RegistryAuth = {
  username: '',
  password: '',
  auth: '',
  serverAddress: '',
  identityToken: '',
  registryToken: '',
};
const known = { ...nobody, username: 'me', password: 'secret:word' };
/** `secret:word` by bcrypt. */
const HTPASSWD = 'me:$2y$04$OXcPbjTbJSA7CM/SBz7rv.oOWqplrOv/g9H8p9UUBheduvydtlZqe\n';

describe('registry with a login', () => {
  const image = buildImage({ layers: [[file('one', '1')], [file('two', '2')]] });
  let temp: string;
  let hosts: string;
  let images: OpenedImages;
  let registry: DockerRegistry | undefined;
  let tokens: HttpServer | undefined;

  before(() => {
    temp = makeTempFolder();
    hosts = join(temp, 'hosts');
    mkdirSync(hosts);
    makeAuthority(temp);
    makeCertificate(temp, 'server', 'IP:127.0.0.1');
    makeCertificate(temp, 'client');
    makeCertificate(temp, 'issuer');
    writeFileSync(join(temp, 'htpasswd'), HTPASSWD);
  });
  after(() => {
    removeTempFolder(temp);
  });
  beforeEach(async () => {
    images = await openImages(
      join(temp, 'images'),
      createRegistryOpener(() => hosts),
    );
  });
  afterEach(async () => {
    images.close();
    await registry?.stop();
    await tokens?.close();
    registry = tokens = undefined;
    for (const name of ['images', 'registry', 'rootfs']) removeTempFolder(join(temp, name));
  });

  async function push(host: string, auth: RegistryAuth | null): Promise<void> {
    await createRegistryPusher(() => hosts)({
      reference: parseImageReference(`${host}/a/b:1`),
      digest: image.manifest.digest,
      blobs: blobsIn(join(temp, 'blobs'), image),
      auth,
      signal: new AbortController().signal,
    });
  }
  async function pull(host: string, auth: RegistryAuth | null): Promise<ImageRecord> {
    const pulled = await images.store.pull(`${host}/a/b:1`, auth, {});
    await images.store.remove(pulled.id);
    return pulled;
  }
  function configure(host: string, toml: string): void {
    mkdirSync(join(hosts, host), { recursive: true });
    writeFileSync(join(hosts, host, 'hosts.toml'), toml);
  }

  it('lets in who has the password, the certificate, and trusts it by https', async () => {
    const set = (key: string, name: string): string =>
      `REGISTRY_HTTP_TLS_${key}=${join(temp, name)}`;
    const tls = [set('CERTIFICATE', 'server.crt'), set('KEY', 'server.key')];
    const auth = `auth: {htpasswd: {realm: r, path: ${join(temp, 'htpasswd')}}}\n`;
    const clients = `REGISTRY_HTTP_TLS_CLIENTCAS=[${join(temp, 'ca.crt')}]`;
    registry = await startDockerRegistry(temp, auth, ['env', ...tls, clients]);
    const { host } = registry;
    const server = `server = "https://${host}"\n`;
    const ca = 'ca = "../../ca.crt"\n';
    const client = 'client = [["../../client.crt", "../../client.key"]]\n';

    configure(host, server + ca + client);
    await push(host, known);
    assert.equal((await pull(host, known)).id, image.id);
    const encoded = Buffer.from('me:secret:word').toString('base64');
    assert.equal((await pull(host, { ...nobody, auth: encoded })).id, image.id);

    const refused = { kind: 'unauthenticated', message: /credentials are missing or wrong/ };
    await assert.rejects(pull(host, null), refused);
    await assert.rejects(pull(host, { ...known, password: 'other' }), refused);
    for (const [toml, message] of [
      [server + client, /cannot be reached: .*certificate.* \(hosts.toml can name its ca\)/],
      [server + ca, /hosts.toml can name a client certificate\)/],
      [
        server.replace('127.0.0.1', 'localhost') + ca + client,
        /localhost:\d+ cannot be reached: .*altnames.* \(its certificate is not for this name\)/,
      ],
    ] as const) {
      configure(host, toml);
      await assert.rejects(pull(host, known), { kind: 'registry-unavailable', message });
    }
    configure(host, server + client + 'skip_verify = true\n');
    assert.equal((await pull(host, known)).id, image.id);
  });

  it('is asked for what is here by its digest: it decides who may have it', async () => {
    const auth = `auth: {htpasswd: {realm: r, path: ${join(temp, 'htpasswd')}}}\n`;
    registry = await startDockerRegistry(temp, auth);
    const { host } = registry;
    await push(host, known);
    const reference = `${host}/a/b@${image.manifest.digest}`;
    assert.equal((await images.store.pull(reference, known, {})).id, image.id);
    await assert.rejects(images.store.pull(reference, null, {}), { kind: 'unauthenticated' });
    assert.equal((await images.store.pull(reference, known, {})).id, image.id);
    await registry.stop();
    await assert.rejects(images.store.pull(reference, known, {}), { kind: 'registry-unavailable' });
    assert.equal(images.store.find(reference)?.id, image.id);
  });

  it('fetches tokens, and uses each for as long as it holds', async () => {
    const issuer = { certificate: join(temp, 'issuer.crt'), key: join(temp, 'issuer.key') };
    tokens = await startTokenServer({ ...issuer, ...known, identityToken: 'refresh' });
    const options = `realm: "${tokens.url}/token", service: "${SERVICE}", issuer: "${ISSUER}"`;
    const auth = `auth: {token: {${options}, rootcertbundle: ${join(temp, 'ca.crt')}}}\n`;
    registry = await startDockerRegistry(temp, auth);
    const { host } = registry;
    await push(host, known);
    assert.equal(tokens.requests.length, 1);

    for (const credentials of [known, { ...nobody, identityToken: 'refresh' }]) {
      const asked: number = tokens.requests.length;
      assert.equal((await pull(host, credentials)).id, image.id);
      assert.equal((await pull(host, credentials)).id, image.id);
      assert.equal(tokens.requests.length, asked + 1, 'one token for two pulls');
    }
    await assert.rejects(pull(host, { ...known, password: 'other' }), {
      kind: 'unauthenticated',
      message: /token server .* answered 401 for repository:a\/b:pull.*: incorrect username/,
    });
    // What somebody else was let in with does not help.
    await assert.rejects(pull(host, null), { kind: 'unauthenticated' });
    await assert.rejects(pull(host, { ...nobody, registryToken: 'x.y.z' }), {
      kind: 'unauthenticated',
      message: /does not take the registry token/,
    });
  });
});
