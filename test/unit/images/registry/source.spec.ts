/** The registry client against servers that lie, break off, redirect and ask for passwords. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { parseImageReference } from '../../../../src/core/image-reference.js';
import type { Descriptor } from '../../../../src/core/oci.js';
import type { RegistryAuth } from '../../../../src/core/ports/images.js';
import type { RootDocument } from '../../../../src/images/source/image-source.js';
import { createRegistryOpener } from '../../../../src/images/registry/source.js';
import { buildImage, digestOf, type Blob } from '../../../support/oci-image.js';
import { HttpServer } from '../../../support/http-server.js';
import { makeTempFolder, removeTempFolder } from '../../../support/temp.js';
import { file } from '../../../support/tar.js';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

const image = buildImage({ layers: [[file('a', Buffer.alloc(300_000, 'abc'))]] });
const password: RegistryAuth = {
  username: 'me',
  password: 'secret:word',
  auth: '',
  serverAddress: '',
  identityToken: '',
  registryToken: '',
};
const basic = `Basic ${Buffer.from('me:secret:word').toString('base64')}`;
const never = new AbortController().signal;

describe('registry source', () => {
  let temp: string;
  const servers: HttpServer[] = [];

  beforeEach(() => {
    temp = makeTempFolder();
  });
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.close()));
    removeTempFolder(temp);
  });

  async function serve(handler: Handler): Promise<HttpServer> {
    const server = await HttpServer.start(handler);
    servers.push(server);
    return server;
  }

  function giveManifest(response: ServerResponse, manifest: Blob = image.manifest): void {
    response.writeHead(200, { 'content-type': manifest.mediaType }).end(manifest.bytes);
  }

  async function resolve(
    server: HttpServer,
    auth: RegistryAuth | null = null,
    name = 'a/b:1',
  ): Promise<RootDocument> {
    const reference = parseImageReference(`${server.host}/${name}`);
    const open = createRegistryOpener(() => temp);
    const source = await open({ kind: 'registry', reference }, auth);
    return source.resolve(never);
  }

  async function download(
    server: HttpServer,
    descriptor: Descriptor,
    signal = never,
  ): Promise<Buffer> {
    const reference = parseImageReference(`${server.host}/a/b:1`);
    const open = createRegistryOpener(() => temp);
    const source = await open({ kind: 'registry', reference }, null);
    const path = join(mkdtempSync(join(temp, 'layer-')), 'blob');
    const file = await openFile(path, 'wx+');
    try {
      await source.fetchLayer({ descriptor, file, signal, onBytes: () => undefined });
      return readFileSync(path);
    } finally {
      await file.close();
    }
  }

  const layer = image.blobs[1] ?? assert.fail();
  const descriptor: Descriptor = {
    mediaType: layer.mediaType,
    digest: layer.digest,
    size: layer.bytes.length,
    annotations: [],
    platform: null,
  };

  describe('digests and sizes', () => {
    it('notices another manifest than the digest asked for', async () => {
      const server = await serve((_, response) => {
        giveManifest(response);
      });
      await assert.rejects(resolve(server, null, `a/b@${digestOf('other')}`), {
        kind: 'data-loss',
        message: /came with digest sha256:/,
      });
    });

    it('notices a manifest that its own header denies', async () => {
      const server = await serve((_, response) => {
        response.setHeader('docker-content-digest', digestOf('other'));
        giveManifest(response);
      });
      await assert.rejects(resolve(server), { kind: 'data-loss' });
    });

    it('reads no more of a manifest than 4 MiB', async () => {
      let sent = 0;
      const server = await serve((_, response) => {
        const chunk = Buffer.alloc(1 << 20, ' ');
        const more = (): void => {
          sent += chunk.length;
          if (!response.destroyed && sent < 100 << 20) response.write(chunk, more);
        };
        more();
      });
      await assert.rejects(resolve(server), {
        kind: 'invalid-argument',
        message: /larger than 4194304 bytes/,
      });
      assert.ok(sent < 30 << 20);
    });

    it('notices a wrong, a longer and a shorter blob', async () => {
      const wrong = Buffer.from(layer.bytes);
      wrong[100] = (wrong[100] ?? 0) ^ 1;
      for (const [body, expected] of [
        [wrong, { kind: 'data-loss', message: /came with content of digest/ }],
        [
          Buffer.concat([layer.bytes, Buffer.alloc(1)]),
          { kind: 'data-loss', message: /comes with \d+ bytes instead of \d+$/ },
        ],
        [
          layer.bytes.subarray(0, -1),
          { kind: 'data-loss', message: /comes with \d+ bytes instead of \d+$/ },
        ],
      ] as const) {
        const server = await serve((_, response) => {
          response.end(body);
        });
        await assert.rejects(download(server, descriptor), expected);
      }
    });

    it('takes no more than the size of a blob whose length nobody tells', async () => {
      let sent = 0;
      const server = await serve((_, response) => {
        response.write(layer.bytes);
        const chunk = Buffer.alloc(1 << 20);
        const more = (): void => {
          sent += chunk.length;
          if (!response.destroyed && sent < 100 << 20) response.write(chunk, more);
        };
        more();
      });
      await assert.rejects(download(server, descriptor), {
        kind: 'data-loss',
        message: /came with more than \d+ bytes$/,
      });
      assert.ok(sent < 30 << 20);
    });
  });

  describe('failures of a moment', () => {
    it('goes on where a blob broke off', async () => {
      const ranges: (string | undefined)[] = [];
      const server = await serve((request, response) => {
        ranges.push(request.headers.range);
        const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
        const { length } = layer.bytes;
        if (from > 0) {
          response.writeHead(206, { 'content-range': `bytes ${from}-${length - 1}/${length}` });
        } else {
          response.writeHead(200, { 'content-length': length });
        }
        const part = layer.bytes.subarray(from, ranges.length < 3 ? from + 100 : undefined);
        response.write(part, () => {
          if (ranges.length < 3) response.destroy();
          else response.end();
        });
      });
      assert.deepEqual(await download(server, descriptor), layer.bytes);
      assert.deepEqual(ranges, [undefined, 'bytes=100-', 'bytes=200-']);
    });

    it('starts anew when the server knows no ranges', async () => {
      let requests = 0;
      const server = await serve((_, response) => {
        requests += 1;
        response.writeHead(200, { 'content-length': layer.bytes.length });
        response.write(layer.bytes.subarray(0, requests < 2 ? 100 : undefined), () => {
          if (requests < 2) response.destroy();
          else response.end();
        });
      });
      assert.deepEqual(await download(server, descriptor), layer.bytes);
      assert.equal(requests, 2);
    });

    it('asks again after a 503, and gives up after a few', async () => {
      let requests = 0;
      const server = await serve((_, response) => {
        requests += 1;
        if (requests < 3) response.writeHead(503).end();
        else giveManifest(response);
      });
      assert.equal((await resolve(server)).digest, image.manifest.digest);
      const broken = await serve((_, response) => {
        response.writeHead(500).end();
      });
      await assert.rejects(resolve(broken), {
        kind: 'registry-unavailable',
        message: /answered 500/,
      });
      assert.equal(broken.requests.length, 4);
    });

    it('ends at once when it is aborted', async () => {
      const stop = new AbortController();
      const server = await serve((_, response) => {
        response.write(layer.bytes.subarray(0, 10), () => {
          stop.abort(new Error('enough'));
        });
      });
      await assert.rejects(download(server, descriptor, stop.signal));
      assert.equal(server.requests.length, 1);
    });
  });

  describe('redirects', () => {
    it('follows one to another server without the credentials, and back without them', async () => {
      const storage = await serve((request, response) => {
        const { headers } = request;
        assert.equal(headers.authorization, undefined);
        if (request.url === '/back')
          response.writeHead(302, { location: `${origin.url}/end` }).end();
        else giveManifest(response);
      });
      const origin = await serve((request, response) => {
        if (request.url === '/end') giveManifest(response);
        else if (request.headers.authorization === undefined) {
          response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
        } else {
          response.writeHead(307, { location: `${storage.url}/back` }).end();
        }
      });
      await resolve(origin, password);
      assert.deepEqual(
        [...origin.requests, ...storage.requests].map(({ headers }) => headers.authorization),
        [undefined, basic, undefined, undefined],
      );
    });

    for (const location of [
      'file:///etc/passwd',
      'gopher://127.0.0.1/',
      'http://169.254.169.254/latest/meta-data',
      'http://[fe80::1]/',
      'http://[::ffff:169.254.169.254]/',
      'http://2852039166/',
      'http://me:secret@127.0.0.1/',
      'http://',
    ]) {
      it(`refuses one to ${location}`, async () => {
        const server = await serve((_, response) => {
          response.writeHead(302, { location }).end();
        });
        await assert.rejects(resolve(server), { kind: 'permission-denied' });
        assert.equal(server.requests.length, 1);
      });
    }

    it('gives up in a circle', async () => {
      const server = await serve((_, response) => {
        response.writeHead(302, { location: '/again' }).end();
      });
      await assert.rejects(resolve(server), {
        kind: 'registry-unavailable',
        message: /more than 5 times/,
      });
    });

    it('answers no challenge of the server it was sent to', async () => {
      const elsewhere = await serve((_, response) => {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="give me"' }).end();
      });
      const server = await serve((_, response) => {
        response.writeHead(302, { location: elsewhere.url }).end();
      });
      await assert.rejects(resolve(server, password), { kind: 'unauthenticated' });
      assert.deepEqual(
        elsewhere.requests.map(({ headers }) => headers.authorization),
        [undefined],
      );
    });
  });

  describe('authentication', () => {
    function guarded(
      realm: (self: HttpServer) => string,
      token = 'the-token',
    ): Promise<HttpServer> {
      return serve((request, response) => {
        const self = servers.find(({ host }) => host === request.headers.host) ?? assert.fail();
        if (request.url?.startsWith('/token')) {
          const isKnown = request.headers.authorization === basic;
          response.end(JSON.stringify({ token: isKnown ? token : 'anonymous' }));
        } else if (request.headers.authorization === `Bearer ${token}`) giveManifest(response);
        else {
          const challenge = `Bearer realm="${realm(self)}",service="reg",scope="repository:a/b:pull"`;
          response.writeHead(401, { 'www-authenticate': challenge }).end();
        }
      });
    }

    it('fetches a token with the password', async () => {
      const server = await guarded(({ url }) => `${url}/token`);
      await resolve(server, password);
      const [, token] = server.requests;
      assert.equal(token?.url, '/token?service=reg&scope=repository%3Aa%2Fb%3Apull');
      assert.equal(token.headers.authorization, basic);
      const encoded = { ...password, username: '', password: '', auth: basic.slice(6) };
      await resolve(server, encoded);
      await assert.rejects(resolve(server), { kind: 'unauthenticated', message: /answered 401/ });
    });

    it('keeps the password from a token server elsewhere in clear text', async () => {
      const thief = await serve((_, response) => {
        response.end('{"token": "x"}');
      });
      const server = await guarded(
        () => `http://localhost:${thief.host.split(':')[1] ?? ''}/token`,
      );
      await assert.rejects(resolve(server, password), { kind: 'unauthenticated' });
      assert.deepEqual(
        thief.requests.map(({ headers }) => headers.authorization),
        [undefined],
      );
    });

    for (const realm of [
      'file:///etc/passwd',
      'http://169.254.169.254/token',
      'http://user:pw@127.0.0.1/',
      'nonsense',
      '',
    ]) {
      it(`asks no token of ${realm || 'nowhere'}`, async () => {
        const server = await guarded(() => realm);
        await assert.rejects(resolve(server, password), {
          kind: realm.includes('169') ? 'permission-denied' : 'unauthenticated',
        });
        assert.equal(server.requests.length, 1);
      });
    }

    it('takes no token with a line break', async () => {
      const server = await guarded(({ url }) => `${url}/token`, 'x\r\nevil: header');
      await assert.rejects(resolve(server, password), {
        kind: 'unauthenticated',
        message: /gave no token/,
      });
    });

    it('uses identity and registry tokens', async () => {
      const bodies: string[] = [];
      const server = await serve((request, response) => {
        if (request.method === 'POST') {
          request.on('data', (chunk: Buffer) => bodies.push(chunk.toString()));
          request.on('end', () => response.end('{"access_token": "fresh"}'));
        } else if (/^Bearer (fresh|given)$/.test(request.headers.authorization ?? '')) {
          giveManifest(response);
        } else {
          const self = servers[0] ?? assert.fail();
          const challenge = `Bearer realm="${self.url}/token"`;
          response.writeHead(401, { 'www-authenticate': challenge }).end();
        }
      });
      const empty = { ...password, username: '', password: '' };
      await resolve(server, { ...empty, registryToken: 'given' });
      assert.equal(server.requests.length, 1);
      await resolve(server, { ...empty, identityToken: 'refresh me' });
      assert.match(bodies.join(''), /grant_type=refresh_token&.*refresh_token=refresh\+me/);
    });

    it('gives a server no credentials that name another', async () => {
      const server = await serve((_, response) => {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      });
      const named = { ...password, serverAddress: 'https://elsewhere.example' };
      await assert.rejects(resolve(server, named), { kind: 'unauthenticated' });
      assert.equal(server.requests.length, 1);
      await assert.rejects(resolve(server, { ...password, serverAddress: server.host }), {
        kind: 'unauthenticated',
      });
      assert.equal(server.requests.length, 3);
    });

    it('says that access was denied', async () => {
      const server = await serve((_, response) => {
        const errors = [{ code: 'DENIED', message: 'not\nyours' }];
        response.writeHead(403).end(JSON.stringify({ errors }));
      });
      await assert.rejects(resolve(server), {
        kind: 'permission-denied',
        message: /answered 403 for manifest of .*: not yours$/,
      });
    });
  });

  it('tells a mirror whose image is meant, and nobody else its headers or passwords', async () => {
    const mirror = await serve((_, response) => {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    });
    const server = await serve((_, response) => {
      giveManifest(response);
    });
    const folder = join(temp, server.host.replace(':', '_') + '_');
    mkdirSync(folder);
    writeFileSync(
      join(folder, 'hosts.toml'),
      `[host."${mirror.url}/prefix"]\nheader = { x-key = "k" }\n`,
    );
    await resolve(server, password);
    assert.deepEqual(
      mirror.requests.map(({ url }) => url),
      [`/prefix/v2/a/b/manifests/1?ns=${encodeURIComponent(server.host)}`],
    );
    assert.deepEqual(
      mirror.requests.map(({ headers }) => [headers['x-key'], headers.authorization]),
      [['k', undefined]],
    );

    assert.deepEqual(
      server.requests.map(({ url, headers }) => [url, headers['x-key']]),
      [['/v2/a/b/manifests/1', undefined]],
    );
  });
});
