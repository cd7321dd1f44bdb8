/** What registries answer instead of an image: documents that are none, errors, wrong parts of blobs. */
import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { parseImageReference } from '../../../../src/core/image-reference.js';
import { parseManifest } from '../../../../src/core/oci.js';
import type { ImageSource, RootDocument } from '../../../../src/images/source/image-source.js';
import { createRegistryOpener } from '../../../../src/images/registry/source.js';
import { TokenCache } from '../../../../src/images/registry/token-cache.js';
import { HttpServer } from '../../../support/http-server.js';
import { buildImage, digestOf } from '../../../support/oci-image.js';
import { makeTempFolder, removeTempFolder } from '../../../support/temp.js';

const image = buildImage({ layers: [Buffer.alloc(10_240)] });
const layer = image.blobs[1] ?? assert.fail();
const signal = new AbortController().signal;

describe('refusals of a registry', () => {
  let temp: string;
  const servers: HttpServer[] = [];
  beforeEach(() => {
    temp = makeTempFolder();
  });
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.close()));
    removeTempFolder(temp);
  });

  async function serve(
    handler: (request: IncomingMessage, response: ServerResponse) => void,
  ): Promise<HttpServer> {
    const server = await HttpServer.start(handler);
    servers.push(server);
    return server;
  }
  const source = (server: HttpServer, tokens?: TokenCache): Promise<ImageSource> =>
    createRegistryOpener(() => temp, tokens)(
      { kind: 'registry', reference: parseImageReference(`${server.host}/a/b:1`) },
      null,
    );
  const resolve = async (server: HttpServer): Promise<RootDocument> =>
    (await source(server)).resolve(signal);
  const descriptor = {
    mediaType: layer.mediaType,
    digest: layer.digest,
    size: layer.bytes.length,
    annotations: [],
    platform: null,
  };
  async function download(server: HttpServer): Promise<Buffer> {
    const path = join(mkdtempSync(join(temp, 'blob-')), 'blob');
    const file = await open(path, 'wx+');
    try {
      const request = { descriptor, file, signal, onBytes: () => undefined };
      await (await source(server)).fetchLayer(request);
      return await file.readFile();
    } finally {
      await file.close();
    }
  }

  describe('asked to wait', () => {
    for (const [name, header] of [
      ['seconds', () => '1'],
      ['a date', () => new Date(Date.now() + 2000).toUTCString()],
    ] as const) {
      it(`waits as long as ${name} say`, async () => {
        const times: number[] = [];
        const server = await serve((_, response) => {
          times.push(Date.now());
          if (times.length > 1) response.end(image.manifest.bytes);
          else response.writeHead(429, { 'retry-after': header() }).end();
        });
        assert.equal((await resolve(server)).digest, image.manifest.digest);
        assert.ok((times[1] ?? 0) - (times[0] ?? 0) >= 950, 'it has waited');
      });
    }

    it('does not for longer than half a minute, nor asks before', async () => {
      const server = await serve((_, response) => {
        const errors = [{ code: 'TOOMANYREQUESTS', message: 'too many' }];
        response.writeHead(429, { 'retry-after': '3600' }).end(JSON.stringify({ errors }));
      });
      await assert.rejects(resolve(server), {
        kind: 'registry-unavailable',
        message:
          /answered 429 .*give it credentials: too many \(it wants not to be asked for 3600 s\)/,
      });
      assert.equal(server.requests.length, 1);
    });
  });

  it('tells all that the registry says, and only as text', async () => {
    const errors = [
      { code: 'MANIFEST_UNKNOWN', message: 'no\u001b[31m such\u202ething', detail: { Tag: '1' } },
      { code: 'NAME_UNKNOWN' },
      { code: 'X', message: 'y'.repeat(10_000), detail: 'why' },
    ];
    const server = await serve((_, response) => {
      response.writeHead(404).end(JSON.stringify({ errors }));
    });
    await assert.rejects(resolve(server), {
      kind: 'not-found',
      message: new RegExp(
        `^${server.host} answered 404 for manifest of ${server.host}/a/b:1: no \\[31m such thing; NAME_UNKNOWN; y{200}, why$`,
      ),
    });
    const page = await serve((_, response) => {
      response.writeHead(404, { 'content-type': 'text/html' }).end('<html>internal secret</html>');
    });
    await assert.rejects(resolve(page), (error: Error) => !error.message.includes('secret'));
  });

  it('names the layer that is not there', async () => {
    const server = await serve((_, response) => {
      response.writeHead(404).end('{"errors": [{"code": "BLOB_UNKNOWN", "message": "gone"}]}');
    });
    await assert.rejects(download(server), {
      kind: 'not-found',
      message: `${server.host} answered 404 for blob ${layer.digest} of ${server.host}/a/b: gone`,
    });
    assert.equal(server.requests.length, 1);
  });

  it('notices another part of a blob than it asked for', async () => {
    const server = await serve((request, response) => {
      if (request.headers.range === undefined) {
        response.writeHead(200, { 'content-length': layer.bytes.length });
        response.write(layer.bytes.subarray(0, 10), () => response.destroy());
      } else {
        const { length } = layer.bytes;
        response.writeHead(206, { 'content-range': `bytes 5-${length - 1}/${length}` });
        response.end(layer.bytes.subarray(5));
      }
    });
    await assert.rejects(download(server), {
      kind: 'data-loss',
      message: /came from another place than byte 10$/,
    });
  });

  it('says that nobody is there', async () => {
    const server = await serve(() => undefined);
    await server.close();
    await assert.rejects(resolve(server), {
      kind: 'registry-unavailable',
      message: `${server.host} cannot be reached: connect ECONNREFUSED ${server.host}`,
    });
  });

  describe('documents', () => {
    const large = Buffer.alloc(100 << 20, '[');
    for (const [name, bytes, message] of [
      ['100 MB', large, /larger than 4194304 bytes/],
      ['depth 100000', Buffer.from('['.repeat(100_000)), /nested deeper than 64 levels/],
      ['a key twice', Buffer.from('{"schemaVersion":2,"schemaVersion":1}'), /twice/],
      ['no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), /is not UTF-8/],
      ['another type', image.manifest.bytes, /says of itself to be/],
      [
        'manifest and index at once',
        Buffer.from('{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}'),
        /at once/,
      ],
    ] as const) {
      it(`are refused that have ${name}`, async () => {
        const server = await serve((_, response) => {
          response.on('error', () => undefined);
          response.writeHead(200, { 'content-type': 'application/vnd.oci.image.index.v1+json' });
          response.end(bytes);
        });
        const before = process.memoryUsage().rss;
        await assert.rejects(
          resolve(server).then((root) => parseManifest(root.bytes, root.mediaType, 'manifest')),
          { kind: 'invalid-argument', message },
        );
        assert.ok(process.memoryUsage().rss - before < 100 << 20);
      });
    }

    it('are the same by tag and by digest, or refused', async () => {
      const server = await serve((_, response) => {
        response.setHeader('content-type', image.manifest.mediaType);
        response.end(image.manifest.bytes);
      });
      const byDigest = {
        ...descriptor,
        mediaType: image.manifest.mediaType,
        digest: digestOf('x'),
      };
      const bytes = await (await source(server)).fetchDocument(byDigest, 1 << 20, signal);
      assert.notEqual(digestOf(Buffer.from(bytes)), byDigest.digest, 'the pull compares them');
    });
  });

  describe('tokens', () => {
    let issued = 0;
    let isRevoked = false;
    let life: number | undefined;
    const guarded = (): Promise<HttpServer> => {
      issued = 0;
      isRevoked = false;
      return serve((request, response) => {
        const { authorization, host = '' } = request.headers;
        if (request.url?.startsWith('/token')) {
          issued += 1;
          isRevoked = false;
          response.end(JSON.stringify({ token: `t${issued}`, expires_in: life }));
        } else if (authorization === `Bearer t${issued}` && issued > 0 && !isRevoked) {
          response.end(image.manifest.bytes);
        } else {
          const challenge = `Bearer realm="http://${host}/token",service="s"`;
          response.writeHead(401, { 'www-authenticate': challenge }).end();
        }
      });
    };

    it('are kept from pull to pull, and renewed when they are refused', async () => {
      life = 300;
      const tokens = new TokenCache();
      const server = await guarded();
      for (let pull = 0; pull < 3; pull += 1) await (await source(server, tokens)).resolve(signal);
      assert.equal(issued, 1);
      isRevoked = true;
      await (await source(server, tokens)).resolve(signal);
      assert.equal(issued, 2);
      const answers = Array.from({ length: 5 }, async () => {
        await (await source(server, tokens)).resolve(signal);
      });
      await Promise.all(answers);
      assert.equal(issued, 2);
    });

    it('are not used after their end', async () => {
      const tokens = new TokenCache();
      life = 1;
      const other = await guarded();
      const opened = await source(other, tokens);
      await opened.resolve(signal);
      await new Promise((done) => setTimeout(done, 1000));
      const { length } = other.requests;
      await opened.resolve(signal);
      const [first] = other.requests.slice(length);
      assert.equal(first?.headers.authorization, undefined);
      assert.equal(issued, 2);
    });

    it('are a bounded number', () => {
      const cache = new TokenCache();
      const key = (scope: string): Parameters<TokenCache['get']>[0] => ({
        server: 's',
        scope,
        credentials: {},
      });
      for (let at = 0; at < 1000; at += 1) cache.set(key(`${at}`), `Bearer ${at}`, 60);
      assert.equal(cache.get(key('0')), undefined);
      assert.equal(cache.get(key('999')), 'Bearer 999');
      assert.equal(cache.get({ ...key('999'), credentials: { username: 'other' } }), undefined);
    });
  });
});
