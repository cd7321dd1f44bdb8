/** Exec, attach and port-forward of a running agent, over WebSocket. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createWebSocketStream } from 'ws';
import { TestAgent } from '../../support/agent.js';
import { connectInside } from '../../support/agent-socket.js';
import { shell } from '../../support/cri-requests.js';
import { settlesAt } from '../../support/descriptors.js';
import { PodClient } from '../../support/pod-client.js';
import { POD_PORTS, PodServer, SOURCE_BYTES } from '../../support/pod-server.js';
import { SpdyClient } from '../../support/spdy-client.js';
import { TUNNEL_ALIAS, WebSocketClient, withTunnelName } from '../../support/websocket-client.js';

const V5 = 'v5.channel.k8s.io';
const V4 = 'v4.channel.k8s.io';
const TUNNEL = 'SPDY/3.1+portforward.k8s.io';
const STREAMS = { stdin: false, stdout: true, stderr: true, tty: false };

describe('streams over WebSocket', () => {
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;
  let idle: string;
  let server: PodServer;
  const clients: WebSocketClient[] = [];

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
    pod = await pods.run('websocket');
    idle = await pods.begin(pod, 'while :; do sleep 1000; done');
    server = await PodServer.start(join(agent.state, 'namespaces', pod, 'ns/net'));
  });

  afterEach(() => {
    for (const client of clients.splice(0)) client.webSocket.terminate();
  });

  after(async () => {
    await server.stop();
    await pods.removePod(pod);
    assert.deepEqual(await agent.close(), []);
  });

  async function open(url: string, protocol: string | string[] = V5): Promise<WebSocketClient> {
    const client = await WebSocketClient.open(url, protocol, await connectInside(agent.netns, url));
    clients.push(client);
    return client;
  }

  async function exec(script: string, streams = STREAMS, protocol = V5): Promise<WebSocketClient> {
    const call = { containerId: idle, cmd: shell(script), ...streams };
    return open((await agent.client.runtime.exec(call)).url, protocol);
  }

  async function forwardUrl(...port: number[]): Promise<string> {
    return (await agent.client.runtime.portForward({ podSandboxId: pod, port })).url;
  }

  const descriptors = (): number => readdirSync(`/proc/${agent.pid}/fd`).length;

  it('exec: output, error output, input and its end, and the exit code', async () => {
    const client = await exec('cat; echo err >&2; exit 7', { ...STREAMS, stdin: true });
    client.send(0, 'in');
    client.send(255, Buffer.of(0));
    await client.ended();
    assert.equal(client.text(1), 'in');
    assert.equal(client.text(2), 'err\n');
    assert.match(client.text(3), /"reason":"ExitCode","message":"7"/);
  });

  it('exec: a terminal with a size, in base64 too', async () => {
    for (const protocol of [V5, 'v4.base64.channel.k8s.io']) {
      const script = 'until stty size | grep -v "^0 0"; do sleep 0.05; done; tty';
      const tty = { stdin: true, stdout: true, stderr: false, tty: true };
      const client = await exec(script, tty, protocol);
      client.send(4, '{"Width":123,"Height":45}');
      await client.ended();
      assert.match(client.text(1), /45 123\r\n\/dev\/pts\/\d+\r\n$/);
      assert.equal(client.text(3), '{"status":"Success"}');
    }
  });

  it('exec: a command that does not exist', async () => {
    const call = { containerId: idle, cmd: ['/no/such'], ...STREAMS };
    const client = await open((await agent.client.runtime.exec(call)).url);
    await client.ended();
    assert.match(client.text(3), /"status":"Failure".*no\/such/);
  });

  it('attach: output from now on, input, and the end of the container', async () => {
    const id = await pods.begin(pod, 'read x; echo "got $x"; read y; exit 3', { stdin: true });
    const call = { containerId: id, ...STREAMS, stdin: true };
    const client = await open((await agent.client.runtime.attach(call)).url);
    client.send(0, 'one\n');
    await client.until(() => client.text(1) === 'got one\n');
    client.send(0, 'two\n');
    await client.ended();
    assert.equal(client.text(3), '{"status":"Success"}');
    await pods.remove(id);
  });

  it('port-forward: two channels for each port', async () => {
    const client = await open(await forwardUrl(POD_PORTS.echo, 8999, POD_PORTS.echo6), V4);
    client.send(0, 'four');
    client.send(4, 'six');
    await client.until(() => client.text(0).endsWith('four') && client.text(4).endsWith('six'));
    for (const [channel, port] of [POD_PORTS.echo, 8999, POD_PORTS.echo6].entries()) {
      assert.equal(client.bytes(2 * channel).readUInt16LE(), port);
      assert.equal(client.bytes(2 * channel + 1).readUInt16LE(), port);
    }
    await client.until(() => client.text(3).includes('ECONNREFUSED'));
  });

  it('port-forward: ports of the query, in base64, up to the end of the pod', async () => {
    const url = `${await forwardUrl()}?port=${POD_PORTS.source}&port=${POD_PORTS.farewell}`;
    const client = await open(url, 'v4.base64.channel.k8s.io');
    await client.ended();
    assert.equal(client.closed, 1000);
    assert.equal(client.bytes(0).length, 2 + SOURCE_BYTES);
    assert.equal(client.text(2).slice(2), 'bye');
    assert.equal(await server.line(), 'farewell 0');
  });

  it('port-forward: refuses ports that are none, or too many', async () => {
    for (const [query, words] of [
      ['', /400: no port is named/],
      ['?port=0', /400: port "0" is out of range/],
      ['?port=70000', /400: port "70000" is out of range/],
      [`?port=${Array.from({ length: 128 }, () => 80).join(',')}`, /400: 128 ports are more/],
    ] as const) {
      await assert.rejects(open(`${await forwardUrl()}${query}`, V4), words);
    }
    await assert.rejects(
      open(await forwardUrl(80), 'v9.channel.k8s.io'),
      /403: no common protocol/,
    );
  });

  it('port-forward: SPDY in a tunnel', async () => {
    const baseline = descriptors();
    const url = await forwardUrl();
    const socket = withTunnelName(await connectInside(agent.netns, url), TUNNEL);
    const client = await WebSocketClient.open(url, TUNNEL_ALIAS, socket);
    clients.push(client);
    assert.equal(client.webSocket.protocol, TUNNEL_ALIAS);
    client.webSocket.removeAllListeners('message');
    const spdy = SpdyClient.over(createWebSocketStream(client.webSocket));
    for (const [id, port] of [POD_PORTS.echo, 8999].entries()) {
      const headers = { port: String(port), requestid: String(id) };
      const error = await spdy.stream({ ...headers, streamtype: 'error' }, 1);
      const data = await spdy.stream({ ...headers, streamtype: 'data' });
      await spdy.until(() => data.replied);
      if (port === 8999) assert.match(await spdy.text(error), /ECONNREFUSED/);
      else {
        for (let i = 0; i < 30; i++) spdy.data(data, Buffer.alloc(100_000, 'x'));
        spdy.data(data, 'end', true);
        assert.equal((await spdy.text(data)).length, 3_000_003);
      }
    }
    spdy.close();
    assert.ok(await settlesAt(descriptors, baseline), `${descriptors()} instead of ${baseline}`);
  });

  it('keep nothing of clients that leave', async () => {
    const baseline = descriptors();
    for (let i = 0; i < 20; i++) {
      const forwarded = await open(await forwardUrl(POD_PORTS.echo, POD_PORTS.source), V4);
      await forwarded.until(() => forwarded.bytes(0).length === 2);
      forwarded.webSocket.terminate();
      (await exec('true')).webSocket.terminate();
    }
    assert.ok(await settlesAt(descriptors, baseline), `${descriptors()} instead of ${baseline}`);
    assert.equal(await server.openConnections(), 0);
  });
});
