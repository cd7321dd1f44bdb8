/** Exec and Attach: the URLs that the RPCs answer, and what a client of them gets. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { TestAgent } from '../../support/agent.js';
import { shell } from '../../support/cri-requests.js';
import { settlesAt } from '../../support/descriptors.js';
import { relayInto, type NetworkRelay } from '../../support/network-relay.js';
import { PodClient } from '../../support/pod-client.js';
import { until } from '../../support/processes.js';
import { request, SpdyClient } from '../../support/spdy-client.js';

const OUTPUT = { stdin: false, stdout: true, stderr: true, tty: false };
const TERMINAL = { stdin: true, stdout: true, stderr: false, tty: true };

describe('exec and attach streams', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;
  let idle: string;
  let relay: NetworkRelay;
  const clients: SpdyClient[] = [];

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
    pod = await pods.run('streams');
    idle = await pods.begin(pod, 'while :; do sleep 1000; done');
    relay = await relayInto(agent.netns, await execUrl(idle, 'true'), join(agent.folder, 'relay'));
  });

  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
  });

  after(async () => {
    await relay.stop();
    await agent.client.runtime.stopPodSandbox({ podSandboxId: pod });
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(await agent.close(), []);
  });

  async function execUrl(containerId: string, script: string, streams = OUTPUT): Promise<string> {
    const call = { containerId, cmd: shell(script), ...streams };
    return (await agent.client.runtime.exec(call)).url;
  }

  async function open(url: string): Promise<SpdyClient> {
    const client = await SpdyClient.open(url, {}, relay.connect());
    clients.push(client);
    return client;
  }

  const exec = async (...call: Parameters<typeof execUrl>): Promise<SpdyClient> =>
    open(await execUrl(...call));

  const attach = async (containerId: string, streams = OUTPUT): Promise<SpdyClient> =>
    open((await agent.client.runtime.attach({ containerId, ...streams })).url);

  const descriptors = (): number => readdirSync(`/proc/${agent.pid}/fd`).length;

  it('are asked for at an absolute URL of the loopback', async () => {
    assert.match(await execUrl(idle, 'true'), /^http:\/\/127\.0\.0\.1:\d+\/exec\/[\w-]{22}$/);
  });

  it('carry output, error output and the exit code', async () => {
    const client = await exec(idle, 'echo out; echo err >&2; exit 7');
    const { error, stdout, stderr } = await client.streamsOf('error', 'stdout', 'stderr');
    assert.equal(await client.text(stdout), 'out\n');
    assert.equal(await client.text(stderr), 'err\n');
    assert.match(await client.text(error), /"reason":"ExitCode","message":"7"/);
    await client.until(() => client.ended);
  });

  it('carry 4 MB before the end is told', async () => {
    const client = await exec(idle, 'head -c 4000000 /dev/zero');
    const { error, stdout } = await client.streamsOf('error', 'stdout', 'stderr');
    assert.equal(await client.text(error), '{"status":"Success"}');
    assert.ok(stdout.ended);
    assert.equal(stdout.bytes.length, 4_000_000);
  });

  it('carry input and its end', async () => {
    const client = await exec(idle, 'cat; echo end', { ...OUTPUT, stdin: true });
    const { stdin, stdout } = await client.streamsOf('error', 'stdin', 'stdout', 'stderr');
    client.data(stdin, 'hello ', true);
    assert.equal(await client.text(stdout), 'hello end\n');
  });

  it('are a terminal of the size that the client says', async () => {
    const client = await exec(idle, 'until stty size | grep -v "^0 0"; do sleep 0.05; done; tty', {
      ...TERMINAL,
      stdin: false,
    });
    const { error, resize, stdout } = await client.streamsOf('error', 'resize', 'stdout');
    client.data(resize, '{"Width":123,"Height":45}');
    assert.match(await client.text(stdout), /45 123\r\n\/dev\/pts\/\d+\r\n$/);
    assert.equal(await client.text(error), '{"status":"Success"}');
  });

  it('of a terminal end with their client, others go on', async () => {
    const mark = 'trap "" HUP; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done; touch';
    const terminal = await exec(idle, `${mark} /tmp/terminal`, TERMINAL);
    await terminal.streamsOf('error', 'stdin', 'stdout', 'resize');
    const plain = await exec(idle, `${mark} /tmp/plain`);
    await plain.streamsOf('error', 'stdout', 'stderr');
    const running = async (): Promise<string> => pods.exec(idle, 'ps | grep -c "[t]ouch"');
    await until(async () => (await running()) === '2');
    terminal.close();
    plain.close();
    await until(async () => (await running()) === '0');
    assert.equal(await pods.exec(idle, 'ls /tmp'), 'plain');
  });

  it('of a missing program say so, and leave nothing open', async () => {
    const before = descriptors();
    for (let i = 0; i < 20; i++) {
      const streams = i % 2 === 0 ? OUTPUT : TERMINAL;
      const call = { containerId: idle, cmd: ['/no/such'], ...streams };
      const client = await open((await agent.client.runtime.exec(call)).url);
      const { error } =
        i % 2 === 0
          ? await client.streamsOf('error', 'stdout', 'stderr')
          : await client.streamsOf('error', 'stdin', 'stdout', 'resize');
      assert.match(await client.text(error), /cannot run \\"\/no\/such\\"/);
      client.close();
    }
    assert.ok(await settlesAt(descriptors, before + 1));
  });

  it('attach to what a container writes from then on, and to its end', async () => {
    const script = 'read a; echo "got $a"; cat; echo over';
    const id = await pods.begin(pod, script, { stdin: true, stdinOnce: true });
    const client = await attach(id, { ...OUTPUT, stdin: true });
    const { error, stdin, stdout } = await client.streamsOf('error', 'stdin', 'stdout', 'stderr');
    client.data(stdin, 'first\nsecond\n', true);
    assert.equal(await client.text(stdout), 'got first\nsecond\nover\n');
    // Whatever its exit code.
    assert.equal(await client.text(error), '{"status":"Success"}');
    await pods.remove(id);
  });

  it('attach to a terminal, again and again', async () => {
    const id = await pods.begin(pod, 'exec sh', { stdin: true, tty: true });
    for (const word of ['one', 'two']) {
      const client = await attach(id, TERMINAL);
      const { stdin, stdout } = await client.streamsOf('error', 'stdin', 'stdout', 'resize');
      client.data(stdin, `echo $((40+2)) ${word}\n`);
      await client.until(() => stdout.bytes.includes(`42 ${word}\r\n`));
      client.close();
    }
    await pods.remove(id);
  });

  it('attach and hang up many times, and leave nothing open', async () => {
    const id = await pods.begin(pod, 'while :; do echo tick; sleep 0.01; done');
    const once = async (names: number): Promise<void> => {
      const client = await attach(id);
      for (const name of ['error', 'stdout', 'stderr'].slice(0, names)) {
        await client.stream({ streamtype: name });
      }
      client.close();
    };
    await once(3);
    await settlesAt(descriptors, 0);
    const before = descriptors();
    for (let i = 0; i < 100; i++) await once(i % 4);
    assert.ok(await settlesAt(descriptors, before));
    const client = await attach(id);
    const { stdout } = await client.streamsOf('error', 'stdout', 'stderr');
    await client.until(() => stdout.bytes.includes('tick\n'));
    await pods.remove(id);
  });

  it('are refused before a URL is given', async () => {
    const { runtime } = agent.client;
    const dead = await pods.begin(pod, 'true');
    await pods.ended(dead);
    const nothing = { stdin: false, stdout: false, stderr: false, tty: false };
    const invalid = 'invalid-argument';
    for (const [change, kind] of [
      [{ ...TERMINAL, stderr: true }, invalid],
      [nothing, invalid],
      [{ cmd: [] }, invalid],
      [{ containerId: 'f'.repeat(64) }, 'not-found'],
      [{ containerId: dead }, 'failed-precondition'],
    ] as const) {
      const call = { containerId: idle, cmd: ['true'], ...OUTPUT, ...change };
      await assert.rejects(runtime.exec({ ...call, cmd: [...call.cmd] }), { kind });
    }
    for (const [change, kind] of [
      [{ ...TERMINAL, stdin: false, stderr: true }, invalid],
      [nothing, invalid],
      [{ ...TERMINAL, stdin: false }, invalid],
      [{ stdin: true }, 'failed-precondition'],
      [{ containerId: 'f'.repeat(64) }, 'not-found'],
      [{ containerId: dead }, 'failed-precondition'],
    ] as const) {
      const call = { containerId: idle, ...OUTPUT, ...change };
      await assert.rejects(runtime.attach(call), { kind });
    }
    await pods.remove(dead);
  });

  it('are told no when their container has ended meanwhile', async () => {
    const id = await pods.begin(pod, 'while :; do sleep 1000; done');
    const url = await execUrl(id, 'true');
    await agent.client.runtime.stopContainer({ containerId: id, timeout: 0n });
    const client = await open(url);
    const { error } = await client.streamsOf('error', 'stdout', 'stderr');
    assert.match(await client.text(error), /is exited: .*"reason":"InternalError"/);
    await pods.remove(id);
  });

  it('are not for a pod of the host network, which reaches the port', async () => {
    const host = await pods.run('host', {}, NamespaceMode.NODE);
    const id = await pods.begin(host, 'while :; do sleep 1000; done');
    const { origin } = new URL(await execUrl(idle, 'true'));
    const answer = await pods.exec(id, `wget -O- ${origin}/exec/AAAAAAAAAAAAAAAAAAAAAA 2>&1; true`);
    assert.match(answer, /HTTP\/1\.1 40[04]/);
    const { status: code } = await request(relay.connect(), `${origin}/attach/${'A'.repeat(22)}`);
    assert.equal(code, 404);
    await pods.remove(id);
    await agent.client.runtime.stopPodSandbox({ podSandboxId: host });
    await agent.client.runtime.removePodSandbox({ podSandboxId: host });
  });

  it('end with the agent, but not what they look at', async () => {
    const client = await attach(idle);
    await client.streamsOf('error', 'stdout', 'stderr');
    await agent.stop();
    await client.until(() => client.ended);
    client.close();
    await agent.start();
    assert.equal(await pods.exec(idle, 'echo alive'), 'alive');
  });
});
