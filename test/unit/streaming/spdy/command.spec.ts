/** Exec and attach over SPDY, with processes of this host: what clients get, and what bad ones do. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RemoteCommand } from '../../../../src/streaming/remote-command.js';
import { StreamingServer, type StreamLimits } from '../../../../src/streaming/server.js';
import { SpdyConnection } from '../../../../src/streaming/spdy/connection.js';
import { spdyTransport } from '../../../../src/streaming/spdy/transport.js';
import { openDescriptors, settlesAt } from '../../../support/descriptors.js';
import { hostCommand, keptLog, type HostCommand } from '../../../support/host-command.js';
import { isAlive, until } from '../../../support/processes.js';
import { u32 } from '../../../support/spdy-blocks.js';
import { control, SpdyClient, type ClientStream } from '../../../support/spdy-client.js';

const V4 = { 'x-stream-protocol-version': 'v4.channel.k8s.io' };
const SUCCESS = '{"status":"Success"}';

describe('exec over SPDY', () => {
  let server: StreamingServer;
  const clients: SpdyClient[] = [];

  async function serve(limits?: Partial<StreamLimits>): Promise<void> {
    server = new StreamingServer({
      log: keptLog(),
      transports: new Map([['spdy/3.1', spdyTransport]]),
      limits: { idleMs: 60_000, creationMs: 10_000, ...limits },
    });
    await server.listen('127.0.0.1', 0);
  }

  async function connect(command: RemoteCommand, headers = V4): Promise<SpdyClient> {
    const url = server.issue({ kind: 'exec', command });
    const client = await SpdyClient.open(url, { headers });
    clients.push(client);
    return client;
  }

  beforeEach(() => serve());

  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await server.close();
  });

  it('carries output, error output and the exit code, and then says goodbye', async () => {
    const client = await connect(hostCommand('echo out; echo err >&2; exit 7'));
    const { error, stdout, stderr } = await client.streamsOf('error', 'stdout', 'stderr');
    assert.equal(await client.text(stdout), 'out\n');
    assert.equal(await client.text(stderr), 'err\n');
    const status = JSON.parse(await client.text(error)) as { details: { causes: unknown } };
    assert.deepEqual(status.details.causes, [{ reason: 'ExitCode', message: '7' }]);
    await client.until(() => client.ended);
    assert.equal(client.goaway, 0);
  });

  it('tells the end as each version has it', async () => {
    for (const [version, good, bad] of [
      ['v4.channel.k8s.io', SUCCESS, /^\{"status":"Failure"/],
      ['v3.channel.k8s.io', '', /^command terminated with non-zero exit code: 3$/],
      ['v2.channel.k8s.io', '', /^command terminated/],
      ['channel.k8s.io', '', /^command terminated/],
    ] as const) {
      for (const script of ['true', 'exit 3']) {
        const headers = { 'x-stream-protocol-version': version };
        const client = await connect(hostCommand(script), headers);
        assert.equal(client.protocol, version);
        const { error } = await client.streamsOf('error', 'stdout', 'stderr');
        const text = await client.text(error);
        if (script === 'true') assert.equal(text, good);
        else assert.match(text, bad);
      }
    }
  });

  it('says what could not be run', async () => {
    const command: RemoteCommand = {
      ...hostCommand(''),
      open: () => Promise.reject(new Error('no such file or directory')),
    };
    const client = await connect(command);
    const { error } = await client.streamsOf('error', 'stdout', 'stderr');
    assert.match(await client.text(error), /no such file.*InternalError/);
    await client.until(() => client.ended);
  });

  it('passes megabytes through, and the end of stdin', async () => {
    const client = await connect(hostCommand('cat', { stdin: true }));
    const { error, stdin, stdout } = await client.streamsOf('error', 'stdin', 'stdout', 'stderr');
    const bytes = randomBytes(5 << 20);
    for (let at = 0; at < bytes.length; at += 100_000) {
      client.data(stdin, bytes.subarray(at, at + 100_000));
    }
    client.data(stdin, '', true);
    await client.until(() => stdout.ended);
    const hash = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
    assert.equal(hash(stdout.bytes), hash(bytes));
    assert.equal(await client.text(error), SUCCESS);
  });

  it('lets the process read to its end before it is told', async () => {
    const client = await connect(hostCommand('cat; echo end', { stdin: true }));
    const { stdin, stdout } = await client.streamsOf('error', 'stdin', 'stdout', 'stderr');
    client.data(stdin, 'one ');
    await client.until(() => stdout.bytes.toString() === 'one ');
    client.data(stdin, 'two ', true);
    assert.equal(await client.text(stdout), 'one two end\n');
  });

  it('goes on without the stdin that its process has closed', async () => {
    const script = 'exec <&-; for i in 1 2 3; do sleep 0.05; echo $i; done';
    const client = await connect(hostCommand(script, { stdin: true }));
    const { error, stdin, stdout } = await client.streamsOf('error', 'stdin', 'stdout', 'stderr');
    for (let i = 0; i < 20; i++) client.data(stdin, Buffer.alloc(64 * 1024));
    assert.equal(await client.text(stdout), '1\n2\n3\n');
    assert.equal(await client.text(error), SUCCESS);
  });

  it('of a terminal has sizes and no error output', async () => {
    const command = hostCommand('sleep 0.2; echo done', { tty: true, stderr: false });
    const client = await connect(command);
    const { resize, stdout } = await client.streamsOf('error', 'resize', 'stdout');
    client.data(resize, '{"Width":100,"Hei');
    client.data(resize, 'ght":30}{"Width":80,"Height":24}');
    assert.equal(await client.text(stdout), 'done\n');
    assert.deepEqual(command.sizes, [
      { rows: 30, columns: 100 },
      { rows: 24, columns: 80 },
    ]);
  });

  it('survives a size that is none', async () => {
    const client = await connect(hostCommand('sleep 0.1; echo done', { tty: true, stderr: false }));
    const { error, resize, stdout } = await client.streamsOf('error', 'resize', 'stdout');
    client.data(resize, '{"Width":-5}');
    for (let i = 0; i < 10; i++) client.data(resize, Buffer.alloc(60_000));
    assert.equal(await client.text(stdout), 'done\n');
    assert.equal(await client.text(error), SUCCESS);
  });

  it('answers pings of the client', async () => {
    const client = await connect(hostCommand('cat', { stdin: true }));
    for (const id of [1, 2, 3, 0xffffffff]) client.ping(id);
    await client.until(() => client.pings.length === 3);
    assert.deepEqual(client.pings, [1, 3, 0xffffffff]);
  });

  it('refuses streams that were not asked for', async () => {
    const client = await connect(hostCommand('echo out'));
    const wrong = [
      await client.stream({ streamtype: 'stdin' }),
      await client.stream({ streamtype: 'constructor' }),
      await client.stream({}),
      await client.stream({ streamtype: 'error' }, 2),
    ];
    const { stdout } = await client.streamsOf('error', 'stderr', 'stdout');
    const twice = await client.stream({ streamtype: 'error' });
    assert.equal(await client.text(stdout), 'out\n');
    // What comes behind the goodbye is not answered.
    await client.until(() => client.ended);
    for (const stream of wrong) assert.equal(stream.reset, 3);
    assert.equal(twice.replied, false);
  });

  it('ends when not all streams come in time', async () => {
    await server.close();
    await serve({ creationMs: 100 });
    const command = hostCommand('echo out');
    const client = await connect(command);
    await client.streamsOf('error', 'stdout');
    await client.until(() => client.ended);
    assert.equal(client.goaway, 0);
    assert.equal(command.child, undefined);
  });

  it('ends when nothing moves for too long, but not before', async () => {
    await server.close();
    await serve({ idleMs: 300 });
    const command = hostCommand('cat', { stdin: true });
    const client = await connect(command);
    await client.streamsOf('error', 'stdin', 'stdout', 'stderr');
    for (let i = 1; i <= 12; i++) {
      client.ping(2 * i + 1);
      await sleep(50);
    }
    assert.equal(client.ended, false);
    await client.until(() => client.ended);
    assert.equal(command.left, 1);
  });

  it('ends with a client that hangs up, at any time', async () => {
    const before = openDescriptors();
    for (let i = 0; i < 60; i++) {
      const command = hostCommand('sleep 1000', { stdin: true });
      const client = await connect(command);
      const names = (['error', 'stdin', 'stdout', 'stderr'] as const).slice(0, i % 5);
      if (i % 3 === 0) void client.streamsOf(...names).catch(() => undefined);
      else await client.streamsOf(...names);
      if (i % 2 === 0) client.abort();
      client.close();
      await until(() => command.child === undefined || command.left === 1);
    }
    assert.ok(await settlesAt(openDescriptors, before));
  });

  it('kills nothing for a client that closes its outputs', async () => {
    const script = 'trap "" PIPE; for i in 1 2 3; do echo $i; sleep 0.05; done 2>&-; true';
    const client = await connect(hostCommand(script));
    const { error, stdout, stderr } = await client.streamsOf('error', 'stdout', 'stderr');
    client.reset(stdout);
    client.reset(stderr);
    assert.equal(await client.text(error), SUCCESS);
  });

  it('stops the process of a client that does not read, and goes on when it does', async () => {
    const size = 64 << 20;
    const command = hostCommand(`head -c ${size} /dev/zero`);
    const client = await connect(command);
    const { error, stdout } = await client.streamsOf('error', 'stdout', 'stderr');
    client.socket.pause();
    const { arrayBuffers } = process.memoryUsage();
    await sleep(300);
    assert.ok(isAlive(command.child?.pid ?? 0));
    assert.ok(process.memoryUsage().arrayBuffers - arrayBuffers < 8 << 20);
    // Only counted: the test's own memory is no subject.
    let bytes = 0;
    client.socket.removeAllListeners('data');
    client.socket.on('data', (chunk: Buffer) => (bytes += chunk.length));
    client.socket.resume();
    await once(client.socket, 'end');
    assert.ok(bytes > size - (1 << 20));
    assert.equal(error.ended || stdout.ended, false);
  });

  it('keeps no answers for a client that pings and does not read', async () => {
    let taken = 0;
    const flood = Buffer.concat(
      Array.from({ length: 1000 }, (_, i) => control(6, 0, u32(2 * i + 1))),
    );
    const socket = new Duplex({
      read() {
        taken += flood.length;
        this.push(flood);
      },
      write: () => undefined,
    });
    const connection = new SpdyConnection(socket, Buffer.alloc(0), {
      idleMs: 60_000,
      closing: new AbortController().signal,
      maxStreams: 1,
      onStream: () => false,
    });
    let before = -1;
    for (let quiet = 0; quiet < 5; before = taken) {
      await sleep(20);
      quiet = taken === before ? quiet + 1 : 0;
      assert.ok(taken < 2 << 20, 'it reads on and on');
    }
    assert.ok(taken > 64 * 1024);
    socket.destroy();
    await connection.close();
  });

  for (const [what, bytes] of [
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(100))],
    ['bytes of chance', Buffer.concat([Buffer.from([0x80]), randomBytes(4000)])],
    ['a control frame of 16 MiB', Buffer.from('80030001' + '00ffffff', 'hex')],
    ['headers that are no zlib', control(1, 0, u32(1), u32(0), Buffer.alloc(20))],
    ['a reply', control(2, 0, u32(1), Buffer.alloc(8))],
  ] as const) {
    it(`ends at ${what}`, async () => {
      const command = hostCommand('sleep 1000', { stdin: true });
      const client = await connect(command);
      client.send(bytes);
      if (what === 'HTTP') client.socket.end();
      await client.until(() => client.ended);
      if (what !== 'HTTP') assert.equal(client.goaway, 1);
      assert.equal(command.child, undefined);
    });
  }

  it('ends at streams that do not rise, and kills the process', async () => {
    for (const id of [1, 2, 7]) {
      const command = hostCommand('sleep 1000');
      const client = await connect(command);
      await client.streamsOf('error', 'stdout', 'stderr');
      await until(() => command.child !== undefined);
      const block = await client.blocks.headers({ streamtype: 'stdin' });
      const stream: ClientStream = {
        id,
        replied: false,
        reset: undefined,
        ended: false,
        bytes: Buffer.alloc(0),
      };
      client.streams.set(id, stream);
      client.send(control(1, 0, u32(id), u32(0), Buffer.alloc(2), block));
      if (id === 7) await client.until(() => stream.reset === 3);
      else await client.until(() => client.ended);
      assert.equal(client.goaway, id === 7 ? undefined : 1);
      if (id !== 7) await until(() => command.left === 1);
    }
  });

  it('ignores data of streams that are not there', async () => {
    const client = await connect(hostCommand('cat', { stdin: true }));
    const { stdin, stdout } = await client.streamsOf('error', 'stdin', 'stdout', 'stderr');
    const nobody = {
      id: 99,
      replied: true,
      reset: undefined,
      ended: false,
      bytes: Buffer.alloc(0),
    };
    client.data(nobody, 'x'.repeat(100_000), true);
    client.reset(nobody);
    client.data(stdin, 'real', true);
    // Behind its end.
    client.data(stdin, 'late');
    assert.equal(await client.text(stdout), 'real');
  });

  it('ends with the agent', async () => {
    const command: HostCommand = hostCommand('sleep 1000');
    const client = await connect(command);
    await client.streamsOf('error', 'stdout', 'stderr');
    await until(() => command.child !== undefined);
    const closed = server.close();
    await client.until(() => client.ended);
    client.close();
    await closed;
    assert.equal(command.left, 1);
    await serve();
  });
});
