/** Who may have a stream: the HTTP side of the streaming server. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { RuntimeError } from '../../../src/core/errors.js';
import { StreamingServer, type StreamSubject } from '../../../src/streaming/server.js';
import { spdyTransport } from '../../../src/streaming/spdy/transport.js';
import { TokenTable } from '../../../src/streaming/tokens.js';
import { hostCommand, keptLog } from '../../support/host-command.js';
import { dial, request, SpdyClient, type Answer } from '../../support/spdy-client.js';

const transports = new Map([['spdy/3.1', spdyTransport]]);

describe('the streaming server', () => {
  let server: StreamingServer;
  let log: ReturnType<typeof keptLog>;
  let now = 0;

  beforeEach(async () => {
    now = 0;
    log = keptLog();
    const tokens = new TokenTable<StreamSubject>(() => now);
    server = new StreamingServer({ log, transports, tokens });
    await server.listen('127.0.0.1', 0);
  });

  afterEach(() => server.close());

  const issue = (): string => server.issue({ kind: 'exec', command: hostCommand('true') });

  async function ask(url: string, options?: Parameters<typeof request>[2]): Promise<Answer> {
    const socket = dial(url);
    try {
      return await request(socket, url, options);
    } finally {
      socket.destroy();
    }
  }

  it('gives absolute URLs of its own address', () => {
    assert.match(issue(), /^http:\/\/127\.0\.0\.1:\d+\/exec\/[\w-]{22}$/);
  });

  it('is reached by ::1 too, in brackets', async () => {
    const six = new StreamingServer({ log, transports });
    await six.listen('::1', 0);
    const url = six.issue({ kind: 'attach', command: hostCommand('echo six') });
    assert.match(url, /^http:\/\/\[::1\]:\d+\/attach\//);
    const client = await SpdyClient.open(url);
    const { stdout } = await client.streamsOf('error', 'stdout', 'stderr');
    assert.equal(await client.text(stdout), 'six\n');
    client.close();
    await six.close();
  });

  it('lets a token in once, and by GET or POST', async () => {
    for (const method of ['GET', 'POST']) {
      const url = issue();
      assert.equal((await ask(url, { method })).status, 101);
      const again = await ask(url, { method });
      assert.equal(again.status, 404);
      assert.match(again.rest.toString(), /^unknown stream/);
    }
    assert.equal((await ask(issue(), { method: 'PUT' })).status, 405);
  });

  it('answers 404 to what no token stands for', async () => {
    const url = issue();
    for (const other of [
      url.replace('/exec/', '/attach/'),
      `${server.url}/exec/AAAAAAAAAAAAAAAAAAAAAA`,
      `${server.url}/exec/`,
      `${server.url}/`,
      `${url}/more`,
      `${server.url}/exec/..%2f`,
      `${server.url}/exec/${'a'.repeat(4000)}`,
    ]) {
      assert.equal((await ask(other)).status, 404, other);
    }
  });

  it('lets nobody in after a minute', async () => {
    const url = issue();
    now = 60_000;
    assert.equal((await ask(url)).status, 404);
  });

  it('refuses the 1,001st that waits', () => {
    for (let i = 0; i < 1000; i++) issue();
    assert.throws(
      issue,
      (error) => error instanceof RuntimeError && error.kind === 'resource-exhausted',
    );
  });

  it('answers only to its own name, or to what a kubelet forwards', async () => {
    const url = issue();
    const { port } = new URL(url);
    for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1', '127.0.0.1:1', '']) {
      const { status } = await ask(url, { headers: { host } });
      assert.equal(status, 403, host);
      const plain = await ask(url, { headers: { host, connection: '', upgrade: '' } });
      // Without any host it is no HTTP/1.1.
      assert.equal(plain.status, host === '' ? 400 : 403);
    }
    const forwarded = { host: 'evil.example', 'x-forwarded-for': '10.0.0.1' };
    assert.equal((await ask(url, { headers: forwarded })).status, 101);
    assert.equal((await ask(issue(), { headers: { host: `LOCALHOST:${port}` } })).status, 101);
  });

  it('refuses what is no stream, and says what is', async () => {
    const url = issue();
    const plain = await ask(url, { headers: { connection: '', upgrade: '' } });
    assert.equal(plain.status, 400);
    assert.match(plain.rest.toString(), /Connection: Upgrade/);
    const other = await ask(url, { headers: { upgrade: 'h2c' } });
    assert.equal(other.status, 400);
    assert.match(other.rest.toString(), /"h2c" is not possible: ask for one of spdy\/3\.1/);
    // Neither has used the token.
    assert.equal((await ask(url)).status, 101);
  });

  it('takes the best version that both speak', async () => {
    for (const [offered, status, chosen] of [
      ['v5.channel.k8s.io, v4.channel.k8s.io', 101, 'v4.channel.k8s.io'],
      ['v2.channel.k8s.io,v3.channel.k8s.io', 101, 'v3.channel.k8s.io'],
      ['channel.k8s.io', 101, 'channel.k8s.io'],
      ['v9.channel.k8s.io', 403, undefined],
      ['', 400, undefined],
    ] as const) {
      const answer = await ask(issue(), { headers: { 'x-stream-protocol-version': offered } });
      assert.equal(answer.status, status, offered);
      assert.equal(answer.headers.get('x-stream-protocol-version'), chosen);
      const accepted = answer.headers.get('x-accepted-stream-protocol-versions');
      assert.equal(accepted !== undefined, status === 403);
    }
  });

  it('tells no token to its log', async () => {
    const url = issue();
    await ask(url);
    await ask(url);
    await ask(`${server.url}/exec/wrong`);
    const token = url.split('/').at(-1) ?? '';
    assert.ok(log.lines.length > 0);
    assert.ok(!log.lines.join('\n').includes(token));
  });

  it('survives what is no HTTP', async () => {
    for (const bytes of [
      Buffer.from('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'latin1'),
      Buffer.from(`GET /exec/x HTTP/1.1\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`),
      Buffer.from('\0'.repeat(70_000)),
    ]) {
      const socket = dial(server.url);
      socket.on('error', () => undefined).resume();
      socket.end(bytes);
      await once(socket, 'close');
    }
    assert.equal((await ask(issue())).status, 101);
  });

  it('drops the oldest of 1,001 that connect and say nothing', async function () {
    this.timeout(20_000);
    const sockets: Socket[] = [];
    const closed: number[] = [];
    for (let i = 0; i < 1001; i++) {
      const socket = dial(server.url);
      socket.on('error', () => undefined).on('close', () => closed.push(i));
      socket.resume();
      sockets.push(socket);
      await once(socket, 'connect');
    }
    const [first] = sockets;
    assert.ok(first);
    if (!first.closed) {
      // The server's half: ours stays open.
      await Promise.race([once(first, 'end'), once(first, 'close')]);
    }
    assert.deepEqual(
      closed.filter((i) => i > 0),
      [],
    );
    assert.equal((await ask(issue())).status, 101);
    for (const socket of sockets) socket.destroy();
  });

  it('says which port is taken', async () => {
    const second = new StreamingServer({ log, transports });
    const port = Number(new URL(server.url).port);
    await assert.rejects(second.listen('127.0.0.1', port), /streaming\.port \d+ .* is in use/);
  });
});
