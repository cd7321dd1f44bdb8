/** The path of a pod through the CRI socket of a real agent: network, containers, exec, logs, figures. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '../../../src/cri/gen/container.js';
import { SecurityProfile_ProfileType } from '../../../src/cri/gen/security.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { PodSandboxState } from '../../../src/cri/gen/sandbox.js';
import { CGROUP_ROOT, TestAgent } from '../../support/agent.js';
import { containerRequest, IMAGE, podRequest, shell } from '../../support/cri-requests.js';
import { inNetworkNamespace } from '../../support/network-namespace.js';

describe('a pod through CRI', function () {
  this.timeout(120_000);
  let agent: TestAgent;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    await pull();
  });

  after(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  const image = {
    image: IMAGE,
    annotations: new Map(),
    userSpecifiedImage: '',
    runtimeHandler: '',
    imageRef: '',
  };
  const pull = () =>
    agent.client.image.pullImage({
      image: { ...image, image: agent.busyboxReference() },
      auth: undefined,
      sandboxConfig: undefined,
    });
  const run = async (name: string, ...rest: [Parameters<typeof podRequest>[2]?]) =>
    (await agent.client.runtime.runPodSandbox(podRequest(agent, name, ...rest))).podSandboxId;
  const create = async (pod: string, name: string, script: string, change = {}) =>
    (await agent.client.runtime.createContainer(containerRequest(pod, name, shell(script), change)))
      .containerId;
  const start = (containerId: string) => agent.client.runtime.startContainer({ containerId });
  const status = async (containerId: string) => {
    const response = await agent.client.runtime.containerStatus({ containerId, verbose: true });
    assert.ok(response.status);
    return response.status;
  };
  const ended = async (containerId: string) => {
    for (;;) {
      const now = await status(containerId);
      if (now.state === ContainerState.CONTAINER_EXITED) return now;
      await sleep(20);
    }
  };
  const exec = (containerId: string, ...cmd: string[]) =>
    agent.client.runtime.execSync({ containerId, cmd, timeout: 10n });
  const remove = (podSandboxId: string) => agent.client.runtime.removePodSandbox({ podSandboxId });

  it('answers Version, Status and RuntimeConfig as the kubelet needs them', async () => {
    const version = await agent.client.runtime.version({ version: 'v1' });
    assert.equal(version.runtimeName, 'pvecri');
    assert.equal(version.runtimeApiVersion, 'v1');
    assert.match(version.runtimeVersion, /^\d+\.\d+\.\d+$/);
    const {
      status: node,
      runtimeHandlers,
      info,
    } = await agent.client.runtime.status({ verbose: true });
    const conditions = new Map(node?.conditions.map((c) => [c.type, c.status]));
    assert.deepEqual(
      [conditions.get('RuntimeReady'), conditions.get('NetworkReady')],
      [true, true],
    );
    assert.equal(runtimeHandlers[0]?.name, '');
    assert.ok(info.get('config')?.includes(agent.root));
    assert.equal((await agent.client.runtime.runtimeConfig({})).linux?.cgroupDriver, 1);
  });

  it('gives the pod an address, a name, resolv.conf, and takes all of it back', async () => {
    const pod = await run('net');
    const { status: sandbox } = await agent.client.runtime.podSandboxStatus({
      podSandboxId: pod,
      verbose: false,
    });
    assert.equal(sandbox?.state, PodSandboxState.SANDBOX_READY);
    const ip = sandbox.network?.ip ?? '';
    assert.match(ip, /^10\.99\.0\.\d+$/);
    const server = await create(
      pod,
      'server',
      'echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp',
    );
    const client = await create(
      pod,
      'client',
      'hostname; cat /etc/resolv.conf; ip -o -4 addr show eth0; until wget -qO- http://127.0.0.1:8080/; do sleep 0.1; done',
    );
    await start(server);
    await start(client);
    const end = await ended(client);
    assert.equal(end.exitCode, 0);
    const log = agent.readLog('client.log');
    for (const line of [
      'net',
      'search svc.local',
      'nameserver 10.0.0.10',
      'options ndots:5',
      'hello',
    ]) {
      assert.match(log, new RegExp(`stdout F ${line}\n`));
    }
    assert.ok(log.includes(`inet ${ip}/24`), log);
    assert.equal(inNetworkNamespace(agent.netns, 'wget', '-qO-', `http://${ip}:8080/`), 'hello\n');
    await agent.client.runtime.stopPodSandbox({ podSandboxId: pod });
    const { status: stopped } = await agent.client.runtime.podSandboxStatus({
      podSandboxId: pod,
      verbose: false,
    });
    assert.equal(stopped?.state, PodSandboxState.SANDBOX_NOTREADY);
    assert.equal((await ended(server)).exitCode, 137);
    await remove(pod);
    assert.doesNotMatch(inNetworkNamespace(agent.netns, 'ip', '-o', 'link'), /veth/);
  });

  it('goes through created, running and exited with right times, codes and reasons', async () => {
    const pod = await run('states');
    const before = BigInt(Date.now()) * 1_000_000n;
    const id = await create(pod, 'c', 'sleep 0.3; echo out; echo err >&2; exit 7');
    assert.equal((await status(id)).state, ContainerState.CONTAINER_CREATED);
    await start(id);
    const running = await status(id);
    assert.equal(running.state, ContainerState.CONTAINER_RUNNING);
    const end = await ended(id);
    assert.deepEqual([end.exitCode, end.reason], [7, 'Error']);
    assert.ok(before <= end.createdAt && end.createdAt <= end.startedAt, 'created before started');
    const lasted = end.finishedAt - end.startedAt;
    assert.ok(lasted >= 300_000_000n && lasted < 20_000_000_000n, `ran for ${lasted} ns`);
    assert.equal(end.startedAt, running.startedAt);
    assert.match(agent.readLog('c.log'), /^\S+Z stdout F out\n\S+Z stderr F err\n$/);
    assert.equal(end.logPath, join(agent.logs, 'c.log'));
    await remove(pod);
  });

  it('stops by the stop signal, and by force after the grace period', async () => {
    const pod = await run('stop');
    const polite = await create(pod, 'polite', "trap 'exit 3' TERM; while :; do sleep 0.05; done");
    const stubborn = await create(pod, 'stubborn', "trap '' TERM; while :; do sleep 0.05; done");
    for (const id of [polite, stubborn]) await start(id);
    await sleep(300);
    await agent.client.runtime.stopContainer({ containerId: polite, timeout: 20n });
    assert.equal((await status(polite)).exitCode, 3);
    await agent.client.runtime.stopContainer({ containerId: stubborn, timeout: 1n });
    assert.equal((await status(stubborn)).exitCode, 137);
    await agent.client.runtime.stopContainer({ containerId: stubborn, timeout: 1n });
    await remove(pod);
  });

  it('runs with the env, user, workdir, mounts and security that were asked for', async () => {
    const pod = await run('config');
    const volume = join(agent.folder, 'volume');
    mkdirSync(volume);
    writeFileSync(join(volume, 'file'), 'from the host\n');
    const id = await create(
      pod,
      'c',
      'id; pwd; echo "$MULTI"; cat /mnt/ro/file; touch /mnt/ro/x || echo ro; touch /etc/x || echo rootfs-ro; echo w > /mnt/rw/w; ls /masked; grep -E "^(CapEff|NoNewPrivs|Seccomp):" /proc/self/status; ulimit -n; umask; cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l',
      {
        workingDir: '/work/dir',
        envs: [{ key: 'MULTI', value: Buffer.from('a\nlxc.hook.pre-start=/bin/sh') }],
        mounts: [
          { containerPath: '/mnt/ro', hostPath: volume, readonly: true },
          { containerPath: '/mnt/rw', hostPath: volume },
        ],
        linux: {
          securityContext: {
            seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault },
            runAsUser: { value: 1000n },
            readonlyRootfs: true,
            noNewPrivs: true,
            capabilities: { dropCapabilities: ['ALL'] },
            maskedPaths: ['/proc/kcore'],
            readonlyPaths: ['/proc/sys'],
          },
        },
      },
    );
    // A user other than root must be able to write to the volume.
    chmodSync(volume, 0o777);
    await start(id);
    assert.equal((await ended(id)).exitCode, 0);
    const lines = agent
      .readLog('c.log')
      .split('\n')
      .map((line) => line.split(' ').slice(3).join(' '));
    const text = lines.join('\n');
    assert.match(text, /^uid=1000\(app\) gid=1000\(app\) groups=1000\(app\),2000\(extra\)$/m);
    assert.match(text, /^\/work\/dir$/m);
    assert.match(text, /^a\nlxc\.hook\.pre-start=\/bin\/sh$/m);
    assert.match(text, /^from the host$/m);
    assert.match(text, /^ro$/m);
    assert.match(text, /^rootfs-ro$/m);
    assert.match(text, /^CapEff:\t0000000000000000$/m);
    assert.match(text, /^NoNewPrivs:\t1$/m);
    assert.match(text, /^Seccomp:\t2$/m);
    // Limits of its own, not those of the agent or of Node.
    assert.match(text, /^1024\n0022\n0$/m);
    // ls itself holds the folder open: 0, 1, 2 and that one.
    assert.match(text, /^4$/m);
    assert.equal(readFileSync(join(volume, 'w'), 'utf8'), 'w\n');
    assert.ok(!existsSync(join(volume, 'x')));
    await remove(pod);
  });

  it('executes commands with their output, exit code and time limit', async () => {
    const pod = await run('exec');
    const id = await create(pod, 'c', 'sleep 1000');
    await start(id);
    const good = await exec(id, '/bin/sh', '-c', 'echo out; echo err >&2; exit 4');
    assert.deepEqual(
      [good.stdout.toString(), good.stderr.toString(), good.exitCode],
      ['out\n', 'err\n', 4],
    );
    const fds = await exec(id, '/bin/ls', '/proc/self/fd');
    assert.deepEqual(fds.stdout.toString().trim().split('\n'), ['0', '1', '2', '3']);
    await assert.rejects(
      agent.client.runtime.execSync({ containerId: id, cmd: ['sleep', '100'], timeout: 1n }),
      { kind: 'deadline-exceeded' },
    );
    await assert.rejects(exec(id, '/bin/nope'), /nope/);
    const left = await exec(id, '/bin/ps');
    assert.doesNotMatch(left.stdout.toString(), /sleep 100\n/);
    assert.match(left.stdout.toString(), /sleep 1000/);
    assert.equal((await status(id)).state, ContainerState.CONTAINER_RUNNING);
    await remove(pod);
  });

  it('lists by filters, and tells statistics of what runs', async () => {
    const pod = await run('list');
    const id = await create(pod, 'c', 'while :; do :; done', { labels: new Map([['tier', 'x']]) });
    await start(id);
    const list = async (filter: object) => {
      const none = { id: '', state: undefined, podSandboxId: '', labelSelector: new Map() };
      const { containers } = await agent.client.runtime.listContainers({
        filter: { ...none, ...filter },
      });
      return containers.map((c) => c.id);
    };
    assert.deepEqual(await list({ podSandboxId: pod }), [id]);
    assert.deepEqual(await list({ labelSelector: new Map([['tier', 'x']]) }), [id]);
    assert.deepEqual(await list({ labelSelector: new Map([['tier', 'y']]) }), []);
    assert.deepEqual(await list({ state: { state: ContainerState.CONTAINER_EXITED } }), []);
    assert.deepEqual(await list({ id: id.slice(0, 10) }), [id]);
    const sandboxes = await agent.client.runtime.listPodSandbox({
      filter: { id: pod, state: undefined, labelSelector: new Map([['app', 'list']]) },
    });
    assert.deepEqual(
      sandboxes.items.map((s) => [s.id, s.metadata?.name]),
      [[pod, 'list']],
    );

    const first = await agent.client.runtime.containerStats({ containerId: id });
    await sleep(500);
    const { stats } = await agent.client.runtime.listContainerStats({ filter: undefined });
    const mine = stats.find((s) => s.attributes?.id === id);
    assert.ok(mine?.cpu?.usageCoreNanoSeconds);
    const before = first.stats?.cpu?.usageCoreNanoSeconds?.value ?? 0n;
    assert.ok(mine.cpu.usageCoreNanoSeconds.value > before, 'a busy loop uses the processor');
    assert.ok((mine.cpu.usageNanoCores?.value ?? 0n) > 10_000_000n);
    assert.ok(mine.writableLayer?.fsId?.mountpoint.startsWith('/'));
    await remove(pod);
  });

  it('says which image is there, how big the store is, and keeps one in use', async () => {
    const { image: found } = await agent.client.image.imageStatus({ image, verbose: false });
    assert.match(found?.id ?? '', /^sha256:[0-9a-f]{64}$/);
    assert.deepEqual(found?.repoTags, [IMAGE]);
    assert.ok(found.size > 0n);
    const absent = await agent.client.image.imageStatus({
      image: { ...image, image: 'example.org/nope:1' },
      verbose: false,
    });
    assert.equal(absent.image, undefined);
    assert.equal((await agent.client.image.listImages({ filter: undefined })).images.length, 1);
    const { imageFilesystems } = await agent.client.image.imageFsInfo({});
    assert.ok((imageFilesystems[0]?.usedBytes?.value ?? 0n) > 0n);
    const pod = await run('image');
    const id = await create(pod, 'c', 'true');
    assert.equal((await status(id)).imageId, found.id);
    // The kubelet asks by id, and shows what the pod's author wrote.
    const byId = await create(pod, 'by-id', 'true', {
      image: { image: found.id, userSpecifiedImage: 'busybox:1' },
    });
    const told = (await status(byId)).image;
    assert.deepEqual([told?.image, told?.userSpecifiedImage], [IMAGE, 'busybox:1']);
    await assert.rejects(agent.client.image.removeImage({ image }), {
      kind: 'failed-precondition',
    });
    await remove(pod);
    await agent.client.image.removeImage({ image });
    await agent.client.image.removeImage({ image });
    assert.equal((await agent.client.image.listImages({ filter: undefined })).images.length, 0);
    assert.equal((await pull()).imageRef, found.id);
  });

  it('sets limits in the container’s cgroup, and tells what it has set', async () => {
    const controllers = readFileSync(join(CGROUP_ROOT, 'cgroup.controllers'), 'utf8').split(/\s/);
    const [file, resources] = controllers.includes('memory')
      ? (['memory.max', { memoryLimitInBytes: 64n << 20n }] as const)
      : ([
          'hugetlb.2MB.max',
          { hugepageLimits: [{ pageSize: '2MB', limit: 64n << 20n }] },
        ] as const);
    const pod = await run('limits');
    const id = await create(pod, 'c', 'sleep 1000', { linux: { resources } });
    const cgroup = join(CGROUP_ROOT, agent.cgroup, 'pod', pod, id);
    assert.equal(readFileSync(join(cgroup, file), 'utf8'), `${64 << 20}\n`);
    assert.deepEqual(
      { ...(await status(id)).resources?.linux, ...resources },
      (await status(id)).resources?.linux,
    );
    await assert.rejects(
      create(pod, 'd', 'true', { linux: { resources: { unified: new Map([[file, 'much']]) } } }),
      { kind: 'invalid-argument', message: new RegExp(`cannot set ${file} .* to "much"`) },
    );
    const missing = ['cpu', 'memory'].filter((controller) => !controllers.includes(controller));
    if (missing.length > 0) {
      const all = { memoryLimitInBytes: 64n << 20n, cpuShares: 2n };
      const other = await create(pod, 'e', 'true', { linux: { resources: all } });
      assert.equal(
        (await status(other)).resources,
        undefined,
        'nothing is claimed that is not set',
      );
    }
    await remove(pod);
  });

  it('shares one PID namespace in a pod that asks for it, with an init that owns nothing', async () => {
    const linux = {
      securityContext: { namespaceOptions: { network: NamespaceMode.POD, pid: NamespaceMode.POD } },
    };
    const pod = await run('shared', { linux });
    const server = await create(pod, 'server', 'sleep 1000', { linux });
    await start(server);
    const client = await create(pod, 'client', 'sleep 1000', { linux });
    await start(client);
    const seen = (await exec(client, '/bin/ps', '-o', 'pid,args')).stdout.toString();
    assert.match(seen, /^ +1 pvecri-pause$/m);
    assert.equal(seen.match(/sleep 1000/g)?.length, 2);
    // Not even root of a container reaches the host through it.
    const reach = await exec(
      client,
      '/bin/sh',
      '-c',
      'ls /proc/1/root/ 2>&1; ls -l /proc/1/exe 2>&1',
    );
    assert.match(reach.stdout.toString(), /Permission denied[^]*Permission denied/);
    // An orphan is reaped, not left as a zombie.
    await exec(client, '/bin/sh', '-c', '(true & exec sleep 0.1) & exit 0');
    await sleep(500);
    assert.doesNotMatch((await exec(client, '/bin/ps')).stdout.toString(), / Z /);
    await agent.client.runtime.stopPodSandbox({ podSandboxId: pod });
    assert.equal((await ended(server)).exitCode, 137);
    await remove(pod);
  });

  it('opens a rotated log anew, and answers an error for one that cannot be', async () => {
    const pod = await run('rotate');
    const id = await create(pod, 'c', 'for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.1; done');
    await start(id);
    await sleep(250);
    renameSync(join(agent.logs, 'c.log'), join(agent.logs, 'c.log.1'));
    await agent.client.runtime.reopenContainerLog({ containerId: id });
    await ended(id);
    const lines = (agent.readLog('c.log.1') + agent.readLog('c.log')).match(/line \d/g);
    assert.deepEqual(
      lines,
      Array.from({ length: 8 }, (_, n) => `line ${n + 1}`),
    );
    assert.match(agent.readLog('c.log'), /line 8/);
    await assert.rejects(agent.client.runtime.reopenContainerLog({ containerId: id }), {
      kind: 'failed-precondition',
    });
    await remove(pod);
  });

  it('answers UNIMPLEMENTED for what is not there yet', async () => {
    const { runtime } = agent.client;
    for (const call of [
      runtime.listMetricDescriptors({}),
      runtime.checkpointContainer({ containerId: 'x', location: '', timeout: 0n }),
    ]) {
      await assert.rejects(call, { kind: 'unimplemented' });
    }
  });
});
