/** Clients that send nothing, too slowly, or garbage, at every step of a stream: none disturbs another. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { StreamingServer } from '../../../src/streaming/server.js';
import { spdyTransport } from '../../../src/streaming/spdy/transport.js';
import { webSocketTransport } from '../../../src/streaming/websocket/transport.js';
import { openDescriptors, settlesAt } from '../../support/descriptors.js';
import { hostCommand, keptLog, type HostCommand } from '../../support/host-command.js';
import { patient } from '../../support/patience.js';
import { until } from '../../support/processes.js';
import { ClientBlocks, u32 } from '../../support/spdy-blocks.js';
import { control, dial, request, SpdyClient } from '../../support/spdy-client.js';

const REQUEST_MS = 300;

describe('hostile clients of the streaming server', () => {
  let server: StreamingServer;
  let honest: SpdyClient;
  let command: HostCommand;
  let baseline: number;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    server = new StreamingServer({
      log: keptLog(),
      transports: new Map([
        ['spdy/3.1', spdyTransport],
        ['websocket', webSocketTransport],
      ]),
      limits: { idleMs: 60_000, creationMs: 10_000 },
      requestMs: patient(REQUEST_MS),
    });
    await server.listen('127.0.0.1', 0);
    command = hostCommand('cat', { stdin: true });
    honest = await SpdyClient.open(server.issue({ kind: 'exec', command }));
    const { stdin, stdout } = await honest.streamsOf('error', 'stdin', 'stdout', 'stderr');
    honest.data(stdin, 'before');
    await honest.until(() => stdout.bytes.toString() === 'before');
    baseline = openDescriptors();
  });

  /** Nothing is left of the others, and who came first is served on. */
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    assert.ok(await settlesAt(openDescriptors, baseline), `${openDescriptors()}, not ${baseline}`);
    const [, stdin, stdout] = [...honest.streams.values()];
    assert.ok(stdin && stdout);
    honest.data(stdin, ' and after', true);
    assert.equal(await honest.text(stdout), 'before and after');
    honest.close();
    await server.close();
  });

  function visit(): { socket: Socket; answer: () => string } {
    const socket = dial(server.url);
    sockets.push(socket);
    let answer = '';
    socket.on('error', () => undefined).on('data', (chunk) => (answer += chunk.toString()));
    return { socket, answer: () => answer };
  }

  const issue = (script = 'exec sleep 1000'): { url: string; victim: HostCommand } => {
    const victim = hostCommand(script, { stdin: true });
    return { url: server.issue({ kind: 'exec', command: victim }), victim };
  };

  it('that are slow with their request are sent away, and only they', async () => {
    const { pathname, host } = new URL(issue().url);
    const line = `GET ${pathname} HTTP/1.1\r\n`;
    const head = `${line}host: ${host}\r\nconnection: upgrade\r\nupgrade: spdy/3.1\r\n`;
    const silent = visit();
    const half = visit();
    half.socket.write(line);
    const dripping = visit();
    const bodiless = visit();
    bodiless.socket.write(
      `POST ${pathname} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 99\r\n\r\n`,
    );
    const started = Date.now();
    const drip = async (): Promise<void> => {
      for (const letter of `${head}x: ${'y'.repeat(4000)}`) {
        if (dripping.socket.readableEnded) return;
        dripping.socket.write(letter);
        await sleep(5);
      }
    };
    const all = [silent, half, dripping, bodiless];
    await Promise.all([drip(), ...all.map(({ socket }) => once(socket, 'end'))]);
    const took = Date.now() - started;
    assert.ok(took >= REQUEST_MS / 2 && took < patient(REQUEST_MS * 10), `${took} ms`);
    for (const { answer } of [half, dripping]) assert.match(answer(), /^HTTP\/1\.1 408 /);
    // Its head was complete.
    assert.match(bodiless.answer(), /^HTTP\/1\.1 400 /);
  });

  it('that try tokens get one answer each, and no other', async () => {
    const { url } = issue();
    const token = url.split('/').at(-1) ?? '';
    for (let i = 0; i < 200; i++) {
      const bytes = Buffer.from(token, 'base64url');
      bytes.writeUInt8(bytes.readUInt8(i % 16) ^ (1 << (i % 8)), i % 16);
      const guess = url.replace(token, bytes.toString('base64url'));
      const { socket } = visit();
      assert.equal((await request(socket, guess)).status, 404);
      socket.destroy();
    }
    const { socket } = visit();
    assert.equal((await request(socket, url)).status, 101);
  });

  it('that send several requests at once get no second one through', async () => {
    const { url, victim } = issue();
    const { pathname, host } = new URL(url);
    const upgrade = `GET ${pathname} HTTP/1.1\r\nhost: ${host}\r\nconnection: upgrade\r\nupgrade: spdy/3.1\r\nx-stream-protocol-version: v4.channel.k8s.io\r\n\r\n`;
    const { socket, answer } = visit();
    socket.end(`GET /exec/none HTTP/1.1\r\nhost: ${host}\r\n\r\n${upgrade}`);
    await once(socket, 'close');
    assert.match(answer(), /^HTTP\/1\.1 404 /);
    assert.equal(victim.child, undefined);
    // Twice the same token, in one write.
    const again = issue();
    const twice = visit();
    twice.socket.end(upgrade.replace(pathname, new URL(again.url).pathname).repeat(2));
    await once(twice.socket, 'close');
    assert.equal(twice.answer().match(/HTTP\/1\.1 101/g)?.length, 1);
    assert.equal(again.victim.child, undefined);
  });

  it('that speak something else, before a request and in place of it, are hung up on', async () => {
    const { host } = new URL(server.url);
    const heads = [
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      `CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: ${host}\r\n\r\n`,
      `GET http://127.0.0.1:22/ HTTP/1.1\r\nhost: ${host}\r\n\r\n`,
      `GET /exec/x HTTP/1.1\r\nhost: ${host}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n`,
      `POST /exec/x HTTP/1.1\r\nhost: ${host}\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n`,
      `POST /exec/x HTTP/1.1\r\nhost: ${host}\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n`,
      `GET /exec/x HTTP/1.1\r\nhost: ${host}\r\nhost: evil.example\r\n\r\n`,
      'SSH-2.0-OpenSSH_9.2\r\n',
      '\r\n'.repeat(1000),
      control(1, 0, u32(1), u32(0)),
      randomBytes(100_000),
    ];
    for (const head of heads) {
      const { socket, answer } = visit();
      socket.end(head);
      await once(socket, 'close');
      assert.doesNotMatch(answer(), /^HTTP\/1\.1 (?:101|2|3)/);
    }
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.nat(80), async (bytes, at) => {
        const { url, victim } = issue();
        const { pathname } = new URL(url);
        const head = Buffer.from(
          `GET ${pathname} HTTP/1.1\r\nhost: ${host}\r\nconnection: upgrade\r\nupgrade: spdy/3.1\r\n\r\n`,
        );
        const { socket } = visit();
        socket.end(Buffer.concat([head.subarray(0, at), bytes, head.subarray(at)]));
        await once(socket, 'close');
        assert.equal(victim.child, undefined);
        // Used or not: the next one needs the room.
        await request(visit().socket, url).catch(() => undefined);
      }),
      { numRuns: 100 },
    );
  });

  it('that change any byte of a session are served or hung up on, and leave nothing', async () => {
    const names = ['error', 'stdin', 'stdout', 'stderr'];
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(1000), fc.integer({ min: 1, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        }),
        async (changes) => {
          const blocks = new ClientBlocks();
          const frames: Buffer[] = [];
          for (const [index, streamtype] of names.entries()) {
            const block = await blocks.headers({ streamtype });
            frames.push(control(1, 0, u32(2 * index + 1), u32(0), Buffer.alloc(2), block));
          }
          blocks.close();
          frames.push(Buffer.concat([u32(3), u32(5), Buffer.from('hello')]), control(6, 0, u32(1)));
          const session = Buffer.concat(frames);
          for (const [at, by] of changes) {
            const place = at % session.length;
            session.writeUInt8(session.readUInt8(place) ^ by, place);
          }
          const { url, victim } = issue('exec cat');
          const { socket } = visit();
          const { status } = await request(socket, url);
          assert.equal(status, 101);
          socket.resume().end(session);
          await once(socket, 'close');
          await until(() => victim.child === undefined || victim.left === 1);
        },
      ),
      { numRuns: 100 },
    );
  });
});
