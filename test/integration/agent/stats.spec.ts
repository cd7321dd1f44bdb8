/** What pods and containers use, through the CRI socket of a real agent. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { CGROUP_ROOT, TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';
import { inNetworkNamespace } from '../../support/network-namespace.js';

const controllers = new Set(
  readFileSync(join(CGROUP_ROOT, 'cgroup.controllers'), 'utf8').trim().split(' '),
);

/** Two processes at least, some work, and something to send. */
const SCRIPT =
  'head -c 100000 /dev/zero | tr "\\0" x > /tmp/file; httpd -p 8080 -h /tmp; while :; do sleep 0.01; done';

describe('statistics through CRI', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pod: string;
  let host: string;
  let id: string;

  const run = async (name: string, network?: NamespaceMode) =>
    (await agent.client.runtime.runPodSandbox(podRequest(agent, name, {}, network))).podSandboxId;
  const start = async (podSandboxId: string, name: string, script: string) => {
    const { containerId } = await agent.client.runtime.createContainer(
      containerRequest(podSandboxId, name, shell(script), { labels: new Map([['part', name]]) }),
    );
    await agent.client.runtime.startContainer({ containerId });
    return containerId;
  };
  const list = async (filter: { id?: string; labelSelector?: Map<string, string> } = {}) =>
    (
      await agent.client.runtime.listPodSandboxStats({
        filter: { id: '', labelSelector: new Map(), ...filter },
      })
    ).stats;
  const of = async (podSandboxId: string) => {
    const { stats } = await agent.client.runtime.podSandboxStats({ podSandboxId });
    assert.ok(stats?.attributes && stats.linux);
    return stats.linux;
  };

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    await agent.client.image.pullImage({
      image: {
        image: agent.busyboxReference(),
        annotations: new Map(),
        userSpecifiedImage: '',
        runtimeHandler: '',
        imageRef: '',
      },
      auth: undefined,
      sandboxConfig: undefined,
    });
    pod = await run('stats');
    host = await run('host', NamespaceMode.NODE);
    id = await start(pod, 'main', SCRIPT);
    await agent.client.runtime.execSync({
      containerId: id,
      cmd: shell('until wget -qO /dev/null http://127.0.0.1:8080/file; do sleep 0.05; done'),
      timeout: 20n,
    });
  });

  after(async () => {
    for (const podSandboxId of [pod, host]) {
      await agent.client.runtime.removePodSandbox({ podSandboxId });
    }
    assert.deepEqual(await agent.close(), []);
  });

  it('count the bytes of a pod’s interfaces as they grow', async () => {
    const before = (await of(pod)).network;
    assert.equal(before?.defaultInterface?.name, 'eth0');
    assert.deepEqual(before.interfaces, []);
    assert.deepEqual(
      [before.defaultInterface.rxErrors?.value, before.defaultInterface.txErrors?.value],
      [0n, 0n],
    );
    const { status } = await agent.client.runtime.podSandboxStatus({
      podSandboxId: pod,
      verbose: false,
    });
    const url = `http://${status?.network?.ip ?? ''}:8080/file`;
    assert.equal(inNetworkNamespace(agent.netns, 'wget', '-qO-', url).length, 100_000);
    const after = (await of(pod)).network;
    const sent =
      (after?.defaultInterface?.txBytes?.value ?? 0n) -
      (before.defaultInterface.txBytes?.value ?? 0n);
    assert.ok(sent >= 100_000n, `${sent} bytes were sent`);
    assert.ok((after?.timestamp ?? 0n) > before.timestamp);
    assert.equal((await of(host)).network, undefined, 'the host’s network is not the pod’s');
  });

  it('tell CPU, processes and pressure of a pod and its containers, each with its time', async () => {
    const { cpu, process, containers, io, memory } = await of(pod);
    assert.ok((cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n);
    assert.ok((process?.processCount?.value ?? 0n) >= 2n);
    assert.deepEqual(
      containers.map(({ attributes }) => attributes?.id),
      [id],
    );
    const [inside] = containers;
    assert.notEqual(inside?.cpu?.timestamp, cpu?.timestamp, 'read one after the other');
    assert.ok(
      (inside?.cpu?.usageCoreNanoSeconds?.value ?? 0n) <=
        (cpu?.usageCoreNanoSeconds?.value ?? 0n) + 1_000_000_000n,
    );
    const pressure = existsSync(join(CGROUP_ROOT, 'cpu.pressure'));
    for (const usage of [cpu, memory, io, inside?.cpu, inside?.memory, inside?.io]) {
      if (!pressure) assert.equal(usage?.psi, undefined);
      else assert.ok(usage?.psi?.Some && usage.psi.Full);
    }
    assert.equal(memory?.usageBytes !== undefined, controllers.has('memory'));
    await sleep(150);
    assert.ok(((await of(pod)).cpu?.usageNanoCores?.value ?? -1n) >= 0n);
  });

  it('are found by id and labels, and not for what is stopped or unknown', async () => {
    const ids = async (...filter: Parameters<typeof list>) =>
      (await list(...filter)).map(({ attributes }) => attributes?.id);
    assert.deepEqual(new Set(await ids()), new Set([pod, host]));
    assert.deepEqual(await ids({ id: pod.slice(0, 20) }), [pod]);
    assert.deepEqual(await ids({ labelSelector: new Map([['app', 'host']]) }), [host]);
    assert.deepEqual(await ids({ id: pod, labelSelector: new Map([['app', 'host']]) }), []);
    const stopped = await run('stopped');
    await agent.client.runtime.stopPodSandbox({ podSandboxId: stopped });
    assert.equal((await ids()).includes(stopped), false);
    await assert.rejects(of(stopped), { kind: 'failed-precondition', message: /is not ready/ });
    await agent.client.runtime.removePodSandbox({ podSandboxId: stopped });
    await assert.rejects(of(stopped), { kind: 'not-found' });
  });

  it('go on after a restart of the agent', async () => {
    await agent.stop('SIGKILL');
    await agent.start();
    const { cpu, network, containers } = await of(pod);
    assert.ok((cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n);
    assert.equal(network?.defaultInterface?.name, 'eth0');
    assert.equal(containers.length, 1);
  });
});
