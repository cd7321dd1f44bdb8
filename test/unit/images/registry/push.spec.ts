/** Uploads to registries that take pieces, send elsewhere and forget. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { parseImageReference } from '../../../../src/core/image-reference.js';
import { createRegistryPusher, type PushedImage } from '../../../../src/images/registry/push.js';
import { blobsIn } from '../../../support/blob-reader.js';
import { HttpServer } from '../../../support/http-server.js';
import { buildImage, digestOf } from '../../../support/oci-image.js';
import { makeTempFolder, removeTempFolder } from '../../../support/temp.js';

const image = buildImage({
  layers: [randomBytes(2 << 20)],
  compress: (tar) => ({ bytes: tar, suffix: '' }),
});
const [, layer] = image.blobs;

describe('registry push', () => {
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

  function push(server: HttpServer, password = ''): Promise<PushedImage> {
    const empty = { auth: '', serverAddress: '', identityToken: '', registryToken: '' };
    return createRegistryPusher(() => '')({
      reference: parseImageReference(`${server.host}/a/b:1`),
      digest: image.manifest.digest,
      blobs: blobsIn(join(temp, 'blobs'), image),
      auth: password === '' ? null : { ...empty, username: 'me', password },
      signal: new AbortController().signal,
    });
  }

  /** What a registry has of the layer; every other blob is there, every manifest is welcome. */
  interface Taken {
    bytes: Buffer;
    uploads: number;
  }
  function answerRest(request: IncomingMessage, response: ServerResponse, taken: Taken): boolean {
    const { method = '', url = '' } = request;
    const isLayer = url.endsWith(`/blobs/${layer?.digest ?? ''}`);
    if (method === 'HEAD') response.writeHead(isLayer ? 404 : 200).end();
    else if (method === 'POST') {
      taken.uploads += 1;
      taken.bytes = Buffer.alloc(0);
      response.writeHead(202, { location: `/v2/a/b/blobs/uploads/${taken.uploads}` }).end();
    } else if (url.includes('/manifests/')) {
      request.resume().on('end', () => response.writeHead(201).end());
    } else return false;
    return true;
  }
  const range = ({ bytes }: Taken): string => `0-${Math.max(bytes.length - 1, 0)}`;
  const finish = (request: IncomingMessage, response: ServerResponse, taken: Taken): void => {
    const digest = new URL(request.url ?? '', 'http://x').searchParams.get('digest');
    response.writeHead(digest === digestOf(taken.bytes) ? 201 : 400).end();
  };

  it('goes on where an upload broke off', async () => {
    const taken: Taken = { bytes: Buffer.alloc(0), uploads: 0 };
    const asked: string[] = [];
    const server = await serve((request, response) => {
      if (answerRest(request, response, taken)) return;
      const { method = '', headers } = request;
      asked.push([method, headers['content-range']].join(' ').trim());
      if (method === 'PUT') finish(request, response, taken);
      else if (method === 'GET')
        response.writeHead(204, { range: range(taken), location: request.url }).end();
      else {
        const isFirst = asked.length === 1;
        request.on('data', (chunk: Buffer) => {
          taken.bytes = Buffer.concat([taken.bytes, chunk]);
          if (!isFirst || taken.bytes.length < 500_000) return;
          taken.bytes = taken.bytes.subarray(0, 500_000);
          request.destroy();
        });
        request.on('end', () =>
          response.writeHead(202, { range: range(taken), location: request.url }).end(),
        );
      }
    });
    await push(server);
    const end = (layer?.bytes.length ?? 0) - 1;
    assert.deepEqual(asked, [`PATCH 0-${end}`, 'GET', `PATCH 500000-${end}`, 'PUT']);
    assert.equal(taken.uploads, 1);
  });

  it('sends the rest to a registry that takes a piece at a time', async () => {
    const taken: Taken = { bytes: Buffer.alloc(0), uploads: 0 };
    const server = await serve((request, response) => {
      if (answerRest(request, response, taken)) return;
      if (request.method === 'PUT') finish(request, response, taken);
      else {
        const chunks: Buffer[] = [taken.bytes];
        request.on('data', (chunk: Buffer) => chunks.push(chunk));
        request.on('end', () => {
          const most = taken.bytes.length + 900_000;
          taken.bytes = Buffer.concat(chunks).subarray(0, most);
          response.writeHead(202, { range: range(taken), location: request.url }).end();
        });
      }
    });
    await push(server);
    assert.equal(server.requests.filter(({ method }) => method === 'PATCH').length, 3);
  });

  it('begins anew when the registry has forgotten the upload, a few times', async () => {
    const taken: Taken = { bytes: Buffer.alloc(0), uploads: 0 };
    const server = await serve((request, response) => {
      if (answerRest(request, response, taken)) return;
      request.resume().on('end', () => response.writeHead(404).end());
    });
    await assert.rejects(push(server), {
      kind: 'registry-unavailable',
      message: /gave up the upload of blob sha256:/,
    });
    assert.equal(taken.uploads, 4);
  });

  it('sends a blob elsewhere without the password, and nowhere by file or link-local address', async () => {
    const taken: Taken = { bytes: Buffer.alloc(0), uploads: 0 };
    const storage = await serve((request, response) => {
      const chunks: Buffer[] = [taken.bytes];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        taken.bytes = Buffer.concat(chunks);
        if (request.method === 'PUT') finish(request, response, taken);
        else response.writeHead(202, { location: request.url }).end();
      });
    });
    let location = `${storage.url}/bucket/1?signature=x`;
    const server = await serve((request, response) => {
      if (request.headers.authorization === undefined) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      } else if (request.method === 'POST') response.writeHead(202, { location }).end();
      else answerRest(request, response, taken);
    });
    await push(server, 'secret');
    assert.deepEqual(
      storage.requests.map(({ method, headers }) => [method, headers.authorization]),
      [
        ['PATCH', undefined],
        ['PUT', undefined],
      ],
    );
    for (location of ['file:///etc/passwd', 'http://169.254.169.254/', 'http://']) {
      await assert.rejects(push(server, 'secret'), { kind: 'permission-denied' });
    }
    assert.equal(storage.requests.length, 2);
  });

  it('asks for the right to push, and has the words of who denies it', async () => {
    const server = await serve((request, response) => {
      const { host } = request.headers;
      if (request.url?.startsWith('/token')) response.end('{"token": "t"}');
      else if (request.headers.authorization === undefined) {
        const challenge = `Bearer realm="http://${host}/token",service="s",scope="repository:a/b:pull"`;
        response.writeHead(401, { 'www-authenticate': challenge }).end();
      } else {
        const errors = [{ code: 'DENIED', message: 'read\u001b[2J only', detail: 'ask Eve' }];
        response.writeHead(request.method === 'HEAD' ? 404 : 403).end(JSON.stringify({ errors }));
      }
    });
    await assert.rejects(push(server), {
      kind: 'permission-denied',
      message: /answered 403 for the upload of blob sha256:\w+: read \[2J only, ask Eve$/,
    });
    const token = server.requests.find(({ url }) => url?.startsWith('/token'));
    const query = new URL(token?.url ?? '', server.url).searchParams;
    assert.deepEqual(query.getAll('scope'), ['repository:a/b:pull,push', 'repository:a/b:pull']);
  });
});
