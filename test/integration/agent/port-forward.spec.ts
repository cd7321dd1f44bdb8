import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { TestAgent } from '../../support/agent.js';
import { connectInside } from '../../support/agent-socket.js';
import { settlesAt } from '../../support/descriptors.js';
import { PodClient } from '../../support/pod-client.js';
import { POD_PORTS, PodServer, SOURCE_BYTES } from '../../support/pod-server.js';
import { SpdyClient, type ClientStream } from '../../support/spdy-client.js';

const PROTOCOL = { 'x-stream-protocol-version': 'portforward.k8s.io' };

describe('port-forward over SPDY', () => {
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;
  let server: PodServer;
  let atRest: number;
  let clients: SpdyClient[] = [];

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    pod = await pods.run('forwarded');
    server = await PodServer.start(join(agent.state, 'namespaces', pod, 'ns/net'));
    atRest = descriptors();
  });

  afterEach(() => {
    for (const client of clients) client.close();
    clients = [];
  });

  after(async () => {
    await server.stop();
    await pods.removePod(pod);
    assert.deepEqual(await agent.close(), []);
  });

  async function url(podSandboxId = pod, port: number[] = []): Promise<string> {
    return (await agent.client.runtime.portForward({ podSandboxId, port })).url;
  }

  async function open(podSandboxId = pod): Promise<SpdyClient> {
    const target = await url(podSandboxId);
    const socket = await connectInside(agent.netns, target);
    const client = await SpdyClient.open(target, { headers: PROTOCOL }, socket);
    clients.push(client);
    return client;
  }

  let requests = 0;
  async function forward(
    client: SpdyClient,
    port: number | string,
  ): Promise<{ data: ClientStream; error: ClientStream }> {
    const headers = { port: String(port), requestid: String(requests++) };
    const error = await client.stream({ ...headers, streamtype: 'error' }, 1);
    const data = await client.stream({ ...headers, streamtype: 'data' });
    await client.until(() => data.replied && error.replied);
    return { data, error };
  }

  const descriptors = (): number => readdirSync(`/proc/${agent.pid}/fd`).length;

  it('carries bytes both ways, and both ends', async () => {
    const client = await open();
    assert.equal(client.protocol, 'portforward.k8s.io');
    const { data, error } = await forward(client, POD_PORTS.echo);
    client.data(data, 'hello ');
    await client.until(() => data.bytes.toString() === 'hello ');
    client.data(data, 'world', true);
    assert.equal(await client.text(data), 'hello world');
    assert.equal(await client.text(error), '');
    assert.equal(data.reset, undefined);
  });

  it('lets the client send on after the end of the pod', async () => {
    const client = await open();
    const { data, error } = await forward(client, POD_PORTS.farewell);
    assert.equal(await client.text(data), 'bye');
    assert.equal(await client.text(error), '');
    client.data(data, Buffer.alloc(100_000), true);
    assert.equal(await server.line(), 'farewell 100000');
    assert.equal(data.reset, undefined);
  });

  it('answers a client that has ended', async () => {
    const client = await open();
    const { data } = await forward(client, POD_PORTS.sink);
    client.data(data, Buffer.alloc(1 << 20));
    client.data(data, '', true);
    assert.equal(await client.text(data), String(1 << 20));
    assert.equal(await server.line(), `sink ${1 << 20}`);
  });

  it('falls back to ::1', async () => {
    const client = await open();
    const { data } = await forward(client, POD_PORTS.echo6);
    client.data(data, 'six', true);
    assert.equal(await client.text(data), 'six');
  });

  it('tells on the error stream that nobody listens, and serves the others', async () => {
    const client = await open();
    const failed = await forward(client, 8999);
    assert.match(await client.text(failed.error), /port 8999.*ECONNREFUSED/);
    await client.until(() => failed.data.reset !== undefined);
    for (const port of [0, 70000]) {
      const refused = await forward(client, port);
      assert.match(await client.text(refused.error), new RegExp(`port ${port} is out of range`));
    }
    const { data } = await forward(client, POD_PORTS.echo);
    client.data(data, 'still here', true);
    assert.equal(await client.text(data), 'still here');
  });

  it('resets the stream of a connection that the pod resets', async () => {
    const client = await open();
    const { data, error } = await forward(client, POD_PORTS.reset);
    client.data(data, 'x');
    await client.until(() => data.reset !== undefined && error.ended);
    assert.equal(error.bytes.length, 0);
  });

  it('reads the pod no faster than the client', async () => {
    const client = await open();
    const { data } = await forward(client, POD_PORTS.source);
    client.socket.pause();
    const memory = (): number => residentBytes(agent.pid);
    const before = memory();
    await sleep(500);
    assert.ok(memory() - before < 8 << 20, `grew by ${memory() - before}`);
    client.socket.resume();
    await client.until(() => data.ended);
    assert.equal(data.bytes.length, SOURCE_BYTES);
  });

  it('serves 50 at once and keeps nothing of clients that go, whole or stream by stream', async () => {
    assert.ok(await settlesAt(descriptors, atRest));
    const baseline = descriptors();
    const client = await open();
    const pairs: Awaited<ReturnType<typeof forward>>[] = [];
    while (pairs.length < 50) pairs.push(await forward(client, POD_PORTS.echo));
    for (const [index, { data }] of pairs.entries()) client.data(data, `number ${index}`);
    await client.until(() =>
      pairs.every(({ data }, index) => data.bytes.toString() === `number ${index}`),
    );
    assert.ok(descriptors() >= baseline + 50);
    for (const { data } of pairs.slice(0, 25)) client.reset(data);
    assert.ok(await settlesAt(descriptors, baseline + 26));
    client.abort();
    assert.ok(await settlesAt(descriptors, baseline), `${descriptors()} instead of ${baseline}`);
  });

  it('refuses what cannot be forwarded', async () => {
    await assert.rejects(url('0123'), { kind: 'not-found' });
    await assert.rejects(url(pod, [0]), { kind: 'invalid-argument', message: /port 0 is/ });
    await assert.rejects(url(pod, [80, 70000]), { kind: 'invalid-argument' });
    const stopped = await pods.run('stopped');
    await pods.stopPod(stopped);
    await assert.rejects(url(stopped), { kind: 'failed-precondition', message: /not ready/ });
    await pods.removePod(stopped);
  });

  it('ends with its pod', async () => {
    const leaving = await pods.run('leaving');
    const own = await PodServer.start(join(agent.state, 'namespaces', leaving, 'ns/net'));
    const baseline = descriptors();
    const client = await open(leaving);
    const { data } = await forward(client, POD_PORTS.echo);
    client.data(data, 'x');
    await client.until(() => data.bytes.length === 1);
    await pods.stopPod(leaving);
    await client.until(() => data.reset !== undefined);
    const { error } = await forward(client, POD_PORTS.echo);
    assert.match(await client.text(error), /not ready/);
    client.close();
    await pods.removePod(leaving);
    assert.ok(await settlesAt(descriptors, baseline));
    await own.stop();
  });

  it('reaches the host for pods in its network', async () => {
    const host = await pods.run('host', {}, NamespaceMode.NODE);
    const own = await PodServer.start(agent.netns);
    const client = await open(host);
    const { data } = await forward(client, POD_PORTS.echo);
    client.data(data, 'host', true);
    assert.equal(await client.text(data), 'host');
    await own.stop();
    await pods.removePod(host);
  });
});

/** Resident bytes. */
function residentBytes(pid: number): number {
  const [, resident] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ');
  return Number(resident) * 4096;
}
