/** Port-forward over SPDY with servers of this host: which streams belong together, and which to nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { PortForward } from '../../../../src/streaming/port-forward.js';
import { StreamingServer } from '../../../../src/streaming/server.js';
import { spdyTransport } from '../../../../src/streaming/spdy/transport.js';
import { openDescriptors, settlesAt } from '../../../support/descriptors.js';
import { keptLog } from '../../../support/host-command.js';
import { until } from '../../../support/processes.js';
import { SpdyClient, type ClientStream } from '../../../support/spdy-client.js';

const PROTOCOL = { 'x-stream-protocol-version': 'portforward.k8s.io' };
const REFUSED_STREAM = 3;
const CANCEL = 5;
const FIN = 1;

describe('port-forward over SPDY', () => {
  let streaming: StreamingServer;
  let echo: Server;
  let port: number;
  let client: SpdyClient;
  const open = new Set<Socket>();
  /** Ports that were asked for. */
  const asked: number[] = [];
  let baseline: number;

  const forward: PortForward = {
    about: { stream: 'portforward' },
    ports: [],
    connect: async (wanted) => {
      asked.push(wanted);
      const socket = connect({ port: wanted, host: '127.0.0.1', allowHalfOpen: true });
      await once(socket, 'connect');
      return socket;
    },
  };

  before(async () => {
    echo = createServer({ allowHalfOpen: true }, (socket) => {
      open.add(socket);
      socket.on('close', () => open.delete(socket)).on('error', () => undefined);
      socket.pipe(socket);
    });
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    ({ port } = echo.address() as AddressInfo);
  });

  beforeEach(async () => {
    asked.length = 0;
    streaming = new StreamingServer({
      log: keptLog(),
      transports: new Map([['spdy/3.1', spdyTransport]]),
      limits: { idleMs: 60_000, creationMs: 200 },
    });
    await streaming.listen('127.0.0.1', 0);
    baseline = openDescriptors();
    client = await SpdyClient.open(streaming.issue({ kind: 'portforward', forward }), {
      headers: PROTOCOL,
    });
  });

  afterEach(async () => {
    client.close();
    assert.ok(await settlesAt(openDescriptors, baseline));
    assert.equal(open.size, 0);
    await streaming.close();
  });

  after(() => echo.close());

  const stream = (
    streamtype: string,
    more: Record<string, string> = {},
    flags = 0,
  ): Promise<ClientStream> => client.stream({ streamtype, port: String(port), ...more }, flags);

  async function works({ id, ...rest }: ClientStream): Promise<void> {
    const data = client.streams.get(id) ?? { id, ...rest };
    const before = data.bytes.length;
    client.data(data, `stream ${id}`);
    await client.until(() => data.bytes.length === before + `stream ${id}`.length);
    assert.ok(data.bytes.toString().endsWith(`stream ${id}`));
  }

  const refused = async (one: ClientStream): Promise<void> => {
    await client.until(() => one.reset !== undefined);
    assert.equal(one.reset, REFUSED_STREAM);
    assert.equal(one.replied, false);
  };

  it('pairs by request, in either order and mixed', async () => {
    const b = await stream('data', { requestid: 'b' });
    const a = await stream('error', { requestid: 'a' }, FIN);
    const c = await stream('error', { requestid: 'c' });
    const data = {
      a: await stream('data', { requestid: 'a' }),
      c: await stream('data', { requestid: 'c' }),
    };
    await stream('error', { requestid: 'b' }, FIN);
    for (const each of [data.c, b, data.a]) await works(each);
    assert.deepEqual(asked, [port, port, port]);
    for (const each of [data.a, b, data.c]) client.data(each, '', true);
    await client.until(() => [a, c].every(({ ended, bytes }) => ended && bytes.length === 0));
    for (const each of [a, b, c]) assert.equal(each.reset, undefined);
  });

  it('pairs an error stream with the next stream where none is named', async () => {
    const first = { error: await stream('error', {}, FIN), data: await stream('data') };
    const second = { error: await stream('error', {}, FIN), data: await stream('data') };
    await works(second.data);
    await works(first.data);
    assert.equal(second.data.id, second.error.id + 2);
    // One in between belongs to neither, and leaves both without the other.
    const apart = await stream('error', {}, FIN);
    const between = await stream('error', { requestid: 'x' }, FIN);
    const late = await stream('data');
    await client.until(() => [apart, between, late].every(({ reset }) => reset === CANCEL));
    await works(first.data);
  });

  it('refuses streams of no kind or port, twice, or of another port than their pair', async () => {
    await refused(await stream('stdin'));
    await refused(await stream(''));
    await refused(await client.stream({ port: String(port) }));
    await refused(await client.stream({ streamtype: 'data' }));
    for (const wrong of ['', '-1', '1.5', '0x50', ' 80', '9999999999', '80\n'])
      await refused(await stream('data', { port: wrong }));
    const error = await stream('error', { requestid: '1' }, FIN);
    await refused(await stream('error', { requestid: '1' }));
    await refused(await stream('data', { requestid: '1', port: String(port - 1) }));
    const data = await stream('data', { requestid: '1' });
    await works(data);
    // Whole already.
    await refused(await stream('data', { requestid: '1' }));
    await refused(await stream('error', { requestid: '1' }));
    await works(data);
    assert.equal(error.reset, undefined);
    assert.deepEqual(asked, [port]);
  });

  it('takes a request again when its pair has ended', async () => {
    for (let i = 0; i < 5; i++) {
      const error = await stream('error', { requestid: 'same' }, FIN);
      const data = await stream('data', { requestid: 'same' });
      await works(data);
      if (i % 2 === 0) client.data(data, '', true);
      else client.reset(data);
      await client.until(() => error.ended);
      await until(() => open.size === 0);
    }
  });

  it('resets a stream that is left alone, and forgets one that the client resets', async () => {
    const alone = await stream('data', { requestid: 'alone' });
    await client.until(() => alone.reset !== undefined);
    assert.equal(alone.reset, CANCEL);
    const left = await stream('error', { requestid: 'again' });
    await client.until(() => left.replied);
    client.reset(left);
    await stream('error', { requestid: 'again' }, FIN);
    const data = await stream('data', { requestid: 'again' });
    await works(data);
  });

  it('takes 500 connections and refuses more, until others end', async () => {
    const pairs: ClientStream[] = [];
    for (let i = 0; i < 500; i++) {
      await stream('error', { requestid: `${i}` }, FIN);
      pairs.push(await stream('data', { requestid: `${i}` }));
    }
    await client.until(() => pairs.every(({ replied }) => replied));
    await refused(await stream('error', { requestid: 'more' }));
    const [first, last] = [pairs[0], pairs.at(-1)];
    assert.ok(first && last);
    await works(last);
    client.data(first, '', true);
    await client.until(() => first.ended);
    await until(() => open.size === 499);
    await stream('error', { requestid: 'more' }, FIN);
    await works(await stream('data', { requestid: 'more' }));
  });

  it('lets go of everything when the client breaks the protocol', async () => {
    await stream('error', { requestid: '1' }, FIN);
    const data = await stream('data', { requestid: '1' });
    await stream('error', { requestid: 'half' });
    await works(data);
    client.send(Buffer.alloc(8));
    await client.until(() => client.ended);
    assert.equal(client.goaway, 1);
    await until(() => open.size === 0);
  });
});
