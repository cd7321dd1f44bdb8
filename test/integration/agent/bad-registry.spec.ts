/** Registries that are out of order or hostile, asked by a running agent: an error each, and it goes on. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PullImageRequest } from '../../../src/cri/gen/image_service.js';
import { TestAgent } from '../../support/agent.js';

/** What the server does is said by the name of the repository. */
const SERVER = `
const manifest = 'application/vnd.oci.image.manifest.v1+json';
const json = (response, body, type = manifest) => {
  response.writeHead(200, { 'content-type': type });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
};
const digest = 'sha256:' + 'a'.repeat(64);
const blob = (size) => ({ mediaType: 'application/vnd.oci.image.config.v1+json', digest, size });
const acts = {
  limited: (q, r) => r.writeHead(429, { 'retry-after': '3600' }).end(
    '{"errors":[{"code":"TOOMANYREQUESTS","message":"come back later"}]}'),
  broken: (q, r) => r.writeHead(502).end('<html>bad gateway</html>'),
  reset: (q, r) => r.socket.destroy(),
  garbage: (q, r) => r.socket.end('SSH-2.0-OpenSSH_9.2\\r\\n'),
  headers: (q, r) => r.socket.write('HTTP/1.1 200 OK\\r\\nx: ' + 'x'.repeat(1 << 20)),
  short: (q, r) => { r.writeHead(200, { 'content-length': 1000, 'content-type': manifest }); r.write('{', () => r.socket.destroy()); },
  text: (q, r) => json(r, 'no manifest', 'text/html'),
  none: (q, r) => r.writeHead(404).end(),
  lost: (q, r) => q.url.includes('/manifests/')
    ? json(r, { schemaVersion: 2, mediaType: manifest, config: blob(100), layers: [] })
    : r.writeHead(404).end(),
  large: (q, r) => json(r, { schemaVersion: 2, mediaType: manifest, config: blob(1e12), layers: [] }),
  foreign: (q, r) => json(r, { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ mediaType: manifest, digest, size: 9, platform: { os: 'plan9', architecture: 'mips' } }],
  }, 'application/vnd.oci.image.index.v1+json'),
  circle: (q, r) => r.writeHead(307, { location: q.url }).end(),
  realm: (q, r) => r.writeHead(401, { 'www-authenticate': 'Bearer realm="http://169.254.169.254/x",service="s"' }).end(),
  unknown: (q, r) => r.writeHead(307, { location: 'https://no-such-host.invalid/x' }).end(),
};
const server = require('http').createServer((q, r) => {
  r.on('error', () => undefined);
  acts[q.url.split('/')[2]](q, r);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

const UNAVAILABLE = /^registry-unavailable: /;
const CASES: Record<string, RegExp[]> = {
  limited: [UNAVAILABLE, /answered 429 .*come back later/],
  broken: [UNAVAILABLE, /answered 502/],
  reset: [UNAVAILABLE, /cannot be reached/],
  garbage: [UNAVAILABLE, /cannot be reached/],
  headers: [UNAVAILABLE, /cannot be reached: .*[Hh]eaders/],
  short: [UNAVAILABLE, /connection ended within manifest/],
  text: [/is not JSON/],
  none: [/answered 404/],
  lost: [/answered 404 for blob sha256:a{64}/],
  large: [/config is larger than \d+ bytes/],
  foreign: [/plan9\/mips/],
  circle: [/redirects more than 5 times/],
  realm: [/169\.254\.169\.254 is an address that images are never fetched from/],
  unknown: [UNAVAILABLE, /no-such-host\.invalid cannot be reached/],
};

describe('a registry that is not as it should be', function () {
  this.timeout(60_000);
  let agent: TestAgent;
  let server: ChildProcess;
  let host: string;

  before(async () => {
    agent = new TestAgent();
    server = spawn('nsenter', [`--net=${agent.netns}`, process.execPath, '-e', SERVER], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    assert.ok(server.stdout);
    const [port] = (await once(server.stdout, 'data')) as [Buffer];
    host = `127.0.0.1:${port.toString().trim()}`;
    await agent.start();
  });
  after(async () => {
    server.kill();
    assert.deepEqual(await agent.close(), []);
  });

  it('is told of by its own words, and leaves the agent and its store as they were', async () => {
    const { pid } = agent;
    const pull = (image: string): Promise<unknown> =>
      agent.client.image.pullImage(PullImageRequest.create({ image: { image } }));
    // All at once: most of them are asked again before they are given up.
    const failed = await Promise.all(
      [...Object.keys(CASES).map((name) => `${host}/${name}:1`), 'no-such-host.invalid/x:1'].map(
        async (name) => {
          const { kind, message } = await pull(name).then(
            () => ({ kind: 'pulled', message: name }),
            (error: unknown) => error as { kind: string; message: string },
          );
          return `${kind}: ${message}`;
        },
      ),
    );
    for (const [index, [name, expected]] of Object.entries(CASES).entries()) {
      for (const each of expected) assert.match(failed[index] ?? '', each, name);
    }
    assert.match(failed.at(-1) ?? '', UNAVAILABLE);
    assert.equal(agent.pid, pid);
    const { images } = await agent.client.image.listImages({ filter: undefined });
    assert.deepEqual(images, []);
    for (const folder of ['tmp', 'blobs/sha256', 'records']) {
      assert.deepEqual(readdirSync(join(agent.root, 'images', folder)), [], folder);
    }
    await pull(agent.busyboxReference());
  });
});
