/** Exec and attach over WebSocket, with processes of this host and the `ws` package as client. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import type { RemoteCommand } from '../../../../src/streaming/remote-command.js';
import { StreamingServer, type StreamLimits } from '../../../../src/streaming/server.js';
import { webSocketTransport } from '../../../../src/streaming/websocket/transport.js';
import { openDescriptors, settlesAt } from '../../../support/descriptors.js';
import { hostCommand, keptLog } from '../../../support/host-command.js';
import { until } from '../../../support/processes.js';
import { WebSocketClient } from '../../../support/websocket-client.js';

const V5 = 'v5.channel.k8s.io';
const SUCCESS = '{"status":"Success"}';

describe('exec over WebSocket', () => {
  let server: StreamingServer;
  const clients: WebSocketClient[] = [];

  async function serve(limits?: Partial<StreamLimits>): Promise<void> {
    server = new StreamingServer({
      log: keptLog(),
      transports: new Map([['websocket', webSocketTransport]]),
      limits: { idleMs: 60_000, creationMs: 10_000, ...limits },
    });
    await server.listen('127.0.0.1', 0);
  }

  async function open(
    command: RemoteCommand,
    protocols: string | string[] = V5,
  ): Promise<WebSocketClient> {
    const client = await WebSocketClient.open(server.issue({ kind: 'exec', command }), protocols);
    clients.push(client);
    return client;
  }

  beforeEach(() => serve());

  afterEach(async () => {
    for (const client of clients.splice(0)) client.webSocket.terminate();
    await server.close();
  });

  it('carries output, error output and the exit code, and then says goodbye', async () => {
    const client = await open(hostCommand('echo out; echo err >&2; exit 7'));
    await client.ended();
    assert.equal(client.closed, 1000);
    assert.deepEqual(client.first, [1, 0]);
    assert.equal(client.text(1), 'out\n');
    assert.equal(client.text(2), 'err\n');
    const status = JSON.parse(client.text(3)) as { details: { causes: unknown } };
    assert.deepEqual(status.details.causes, [{ reason: 'ExitCode', message: '7' }]);
  });

  it('speaks every version, in binary and base64', async () => {
    const old = 'command terminated with non-zero exit code: 3';
    for (const [protocol, good, bad] of [
      ['v5.channel.k8s.io', SUCCESS, '"message":"3"'],
      ['v4.channel.k8s.io', SUCCESS, '"message":"3"'],
      ['v4.base64.channel.k8s.io', SUCCESS, '"message":"3"'],
      ['v3.channel.k8s.io', '', old],
      ['v2.channel.k8s.io', '', old],
      ['channel.k8s.io', '', old],
      ['base64.channel.k8s.io', '', old],
      ['', '', old],
    ] as const) {
      const offered = protocol === '' ? [] : protocol;
      const client = await open(hostCommand('cat', { stdin: true }), offered);
      assert.equal(client.webSocket.protocol, protocol);
      client.send(0, `over ${protocol} ÿ`);
      await client.until(() => client.text(1) === `over ${protocol} ÿ`);
      client.webSocket.terminate();
      const succeeding = await open(hostCommand('echo good'), offered);
      const failing = await open(hostCommand('exit 3'), offered);
      await succeeding.ended();
      await failing.ended();
      assert.equal(succeeding.text(1), 'good\n');
      assert.equal(succeeding.text(3), good, protocol);
      assert.ok(failing.text(3).includes(bad), `${protocol}: ${failing.text(3)}`);
    }
  });

  it('takes the first version of the client that it knows, and refuses when there is none', async () => {
    const client = await open(hostCommand('true'), ['v9.channel.k8s.io', 'channel.k8s.io', V5]);
    assert.equal(client.webSocket.protocol, 'channel.k8s.io');
    await assert.rejects(
      open(hostCommand('true'), ['v9.channel.k8s.io']),
      /^Error: 403: no common/,
    );
  });

  it('ends the input of a client of version 5', async () => {
    const client = await open(hostCommand('cat; echo end', { stdin: true }));
    client.send(0, 'hello ');
    client.send(255, Buffer.of(9));
    client.send(255, Buffer.of(0, 0));
    client.send(255, '');
    client.send(255, Buffer.of(0));
    client.send(0, 'too late');
    client.send(255, Buffer.of(0));
    await client.ended();
    assert.equal(client.text(1), 'hello end\n');
    assert.equal(client.text(3), SUCCESS);
  });

  it('takes 255 for a channel like any other before version 5', async () => {
    const client = await open(hostCommand('cat', { stdin: true }), 'v4.channel.k8s.io');
    client.send(255, Buffer.of(0));
    client.send(0, 'open');
    await client.until(() => client.text(1) === 'open');
  });

  it('carries window sizes', async () => {
    const command = hostCommand('read x', { stdin: true, stderr: false, tty: true });
    const client = await open(command);
    client.send(4, '{"Width":80,');
    client.send(4, '"Height":24}{"Width":90,"Height":30}');
    await until(() => command.sizes.length === 2);
    assert.deepEqual(command.sizes[1], { rows: 30, columns: 90 });
    client.send(0, 'x\n');
    await client.ended();
  });

  it('drops what comes on channels that were not asked for', async () => {
    const client = await open(hostCommand('sleep 0.2; echo fine'));
    for (const channel of [0, 1, 2, 3, 4, 5, 200]) client.send(channel, 'x'.repeat(100_000));
    client.webSocket.send('');
    await client.ended();
    assert.equal(client.text(1), 'fine\n');
    assert.equal(client.text(3), SUCCESS);
  });

  it('carries 8 MB each way before the end is told', async () => {
    const client = await open(hostCommand('cat', { stdin: true }));
    for (let i = 0; i < 8; i++) client.send(0, Buffer.alloc(1 << 20, 'x'));
    client.send(255, Buffer.of(0));
    await client.ended();
    assert.equal(client.bytes(1).length, 8 << 20);
    assert.equal(client.text(3), SUCCESS);
  });

  it('reads the process no faster than the client, and the client no faster than the process', async () => {
    const source = hostCommand('head -c 50000000 /dev/zero; echo end >&2');
    const reader = await open(source);
    reader.webSocket.pause();
    const sink = hostCommand('sleep 1000', { stdin: true });
    const writer = await open(sink);
    for (let i = 0; i < 30; i++) writer.send(0, Buffer.alloc(1 << 20));
    await sleep(300);
    assert.equal(source.child?.exitCode, null);
    assert.ok(writer.webSocket.bufferedAmount > 10 << 20, `${writer.webSocket.bufferedAmount}`);
    sink.child?.kill();
    reader.webSocket.terminate();
    await until(() => source.left === 1);
  });

  it('answers pings, and lets go of who sends them and reads nothing', async () => {
    const command = hostCommand('sleep 1000');
    const client = await open(command);
    client.webSocket.ping('x');
    await client.until(() => client.pongs === 1);
    client.webSocket.pause();
    const payload = Buffer.alloc(125);
    for (let i = 0; i < 300 && client.webSocket.readyState === client.webSocket.OPEN; i++) {
      for (let j = 0; j < 1000; j++) client.webSocket.ping(payload, true, () => undefined);
      await sleep(1);
      if (command.left > 0) break;
    }
    await until(() => command.left === 1);
    command.child?.kill();
  });

  it('closes a connection with a message that is too long, or masked wrongly, or garbage', async () => {
    const long = hostCommand('sleep 1000', { stdin: true });
    const client = await open(long);
    client.send(0, Buffer.alloc((4 << 20) + 1));
    await client.ended();
    assert.equal(client.closed, 1009);
    await until(() => long.left === 1);
    long.child?.kill();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), async (bytes) => {
        const command = hostCommand('exec sleep 1000', { stdin: true });
        const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
        socket.on('error', () => undefined);
        const { host, pathname } = new URL(server.issue({ kind: 'exec', command }));
        socket.write(
          `GET ${pathname} HTTP/1.1\r\nhost: ${host}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
        );
        socket.end(bytes);
        socket.resume();
        await until(() => command.left === 1);
        command.child?.kill();
        socket.destroy();
      }),
      { numRuns: 30 },
    );
  });

  it('is refused without a key, and by POST', async () => {
    for (const [head, status] of [
      ['GET PATH HTTP/1.1\r\nsec-websocket-version: 13\r\n', 400],
      [
        'GET PATH HTTP/1.1\r\nsec-websocket-version: 7\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
        400,
      ],
      [
        'POST PATH HTTP/1.1\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
        400,
      ],
    ] as const) {
      const command = hostCommand('true');
      const { host, pathname } = new URL(server.issue({ kind: 'exec', command }));
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
      let answer = '';
      socket.on('data', (chunk) => (answer += chunk.toString()));
      socket.write(
        `${head.replace('PATH', pathname)}host: ${host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`,
      );
      await until(() => answer.startsWith(`HTTP/1.1 ${status} `));
      assert.equal(command.child, undefined);
      socket.destroy();
    }
  });

  it('ends when nothing moves for too long, and when the agent stops', async () => {
    const stopped = hostCommand('sleep 1000');
    const client = await open(stopped);
    await server.close();
    await client.ended();
    assert.equal(stopped.left, 1);
    await serve({ idleMs: 100 });
    const idle = hostCommand('sleep 1000');
    await (await open(idle)).ended();
    assert.equal(idle.left, 1);
    for (const { child } of [stopped, idle]) child?.kill();
  });

  it('keeps nothing of clients that leave', async () => {
    const baseline = openDescriptors();
    const commands = Array.from({ length: 30 }, () => hostCommand('exec sleep 1000'));
    for (const command of commands) (await open(command)).webSocket.terminate();
    await until(() => commands.every(({ left }) => left === 1));
    for (const { child } of commands) child?.kill();
    assert.ok(await settlesAt(openDescriptors, baseline));
  });
});
