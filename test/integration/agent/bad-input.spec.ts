/** Wrong input through the CRI socket: the code, the words, and nothing left behind. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeError } from '../../../src/core/errors.js';
import { ContainerState } from '../../../src/cri/gen/container.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import type { Signal } from '../../../src/cri/gen/signal.js';
import { TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';

describe('bad input through CRI', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pod: string;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    await pull(agent.busyboxReference());
    pod = (await agent.client.runtime.runPodSandbox(podRequest(agent, 'pod'))).podSandboxId;
  });

  after(async () => {
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(await agent.close(), []);
  });

  const spec = (image: string) => ({
    image,
    annotations: new Map<string, string>(),
    userSpecifiedImage: '',
    runtimeHandler: '',
    imageRef: '',
  });
  const pull = (image: string) =>
    agent.client.image.pullImage({ image: spec(image), auth: undefined, sandboxConfig: undefined });
  const create = async (name: string, change: Parameters<typeof containerRequest>[3] = {}) =>
    (await agent.client.runtime.createContainer(containerRequest(pod, name, shell('true'), change)))
      .containerId;
  /** Fails as expected, and the node is as it was. */
  const refused = async (work: () => Promise<unknown>, kind: string, text: RegExp) => {
    const before = agent.left().sort();
    await assert.rejects(work(), (error: unknown) => {
      assert.ok(error instanceof RuntimeError, String(error));
      assert.match(error.message, text);
      assert.equal(error.kind, kind, error.message);
      return true;
    });
    const after = agent.left().sort();
    // The shim of a container of the test before may have been ending; nothing else comes or goes.
    assert.deepEqual(
      after,
      before.filter((line) => !line.startsWith('process ') || after.includes(line)),
    );
  };

  const unknown = 'f'.repeat(64);
  it('names unknown ids, and takes stopping and removing them for done', async () => {
    const { runtime } = agent.client;
    await refused(
      () => runtime.startContainer({ containerId: unknown }),
      'not-found',
      /container "f+" does not exist/,
    );
    await refused(
      () => runtime.containerStatus({ containerId: unknown, verbose: false }),
      'not-found',
      /f{64}/,
    );
    await refused(
      () => runtime.podSandboxStatus({ podSandboxId: unknown, verbose: false }),
      'not-found',
      /pod sandbox "f+"/,
    );
    await refused(() => runtime.containerStats({ containerId: '../x' }), 'not-found', /"\.\.\/x"/);
    await refused(
      () => runtime.execSync({ containerId: '', cmd: ['x'], timeout: 0n }),
      'invalid-argument',
      /empty/,
    );
    await runtime.stopContainer({ containerId: unknown, timeout: 0n });
    await runtime.removeContainer({ containerId: unknown });
    await runtime.stopPodSandbox({ podSandboxId: unknown });
    await runtime.removePodSandbox({ podSandboxId: unknown });
  });

  for (const [what, bad] of [
    ['newline', 'a\nb'],
    ['NUL', 'a\0b'],
    ['escape', 'a\u001bb'],
  ] as const) {
    it(`refuses a ${what} in every string that reaches a file`, async () => {
      const run = (change: Parameters<typeof podRequest>[2]) =>
        agent.client.runtime.runPodSandbox(podRequest(agent, 'bad', change));
      const metadata = { name: 'n', namespace: 'ns', uid: 'u', attempt: 0 };
      await refused(() => run({ hostname: bad }), 'invalid-argument', /hostname/);
      await refused(
        () => run({ metadata: { ...metadata, name: bad } }),
        'invalid-argument',
        /metadata\.name/,
      );
      await refused(
        () => run({ metadata: { ...metadata, namespace: bad } }),
        'invalid-argument',
        /metadata\.namespace/,
      );
      await refused(
        () => run({ metadata: { ...metadata, uid: bad } }),
        'invalid-argument',
        /metadata\.uid/,
      );
      await refused(() => run({ logDirectory: `/${bad}` }), 'invalid-argument', /log_directory/);
      await refused(() => run({ dnsConfig: { servers: [bad] } }), 'invalid-argument', /DNS server/);
      await refused(
        () => run({ linux: { cgroupParent: `/${bad}` } }),
        'invalid-argument',
        /cgroup_parent/,
      );
      await refused(
        () => run({ linux: { sysctls: new Map([['net.ipv4.ip_forward', bad]]) } }),
        'invalid-argument',
        /sysctl/,
      );
      const mount = { containerPath: '/m', hostPath: '/tmp' };
      await refused(() => create('c', { logPath: bad }), 'invalid-argument', /log_path/);
      await refused(
        () => create('c', { workingDir: `/${bad}` }),
        'invalid-argument',
        /working_dir/,
      );
      await refused(
        () => create('c', { mounts: [{ ...mount, hostPath: `/${bad}` }] }),
        'invalid-argument',
        /host_path/,
      );
      await refused(
        () => create('c', { mounts: [{ ...mount, containerPath: `/${bad}` }] }),
        'invalid-argument',
        /container_path/,
      );
      await refused(() => create('c', { image: { image: bad } }), 'invalid-argument', /image/);
      await refused(() => pull(`example.org/${bad}`), 'invalid-argument', /example\.org/);
    });
  }

  it('refuses paths that escape', async () => {
    await refused(
      () => create('c', { logPath: '../../../etc/cron.d/x' }),
      'invalid-argument',
      /log_path/,
    );
    await refused(
      () => create('c', { mounts: [{ containerPath: '/../../x', hostPath: '/tmp' }] }),
      'invalid-argument',
      /container_path/,
    );
    await refused(
      () =>
        agent.client.runtime.runPodSandbox(
          podRequest(agent, 'bad', { linux: { cgroupParent: '/a/../../b' } }),
        ),
      'invalid-argument',
      /cgroup_parent/,
    );
  });

  it('takes a megabyte of annotations byte for byte, and messages of nearly 16 MiB', async () => {
    const { runtime } = agent.client;
    const big = '\n\u0000"\u2028é'.repeat(1 << 17);
    const annotations = new Map([['big', big]]);
    const request = podRequest(agent, 'big', { annotations }, NamespaceMode.NODE);
    const { podSandboxId } = await runtime.runPodSandbox(request);
    const containerId = (
      await runtime.createContainer(
        containerRequest(podSandboxId, 'big', shell('true'), { annotations }),
      )
    ).containerId;
    await agent.stop('SIGKILL');
    await agent.start();
    const found = await agent.client.runtime.podSandboxStatus({ podSandboxId, verbose: false });
    assert.ok(found.status?.annotations.get('big') === big);
    const { status } = await agent.client.runtime.containerStatus({ containerId, verbose: false });
    assert.ok(status?.annotations.get('big') === big);
    await agent.client.runtime.removePodSandbox({ podSandboxId });
    const huge = podRequest(agent, 'huge', { annotations: new Map([['x', 'x'.repeat(15 << 20)]]) });
    const made = await agent.client.runtime.runPodSandbox(huge);
    await agent.client.runtime.removePodSandbox(made);
    huge.config?.annotations.set('y', 'y'.repeat(2 << 20));
    await refused(() => agent.client.runtime.runPodSandbox(huge), 'resource-exhausted', /larger/);
  });

  it('names what is malformed: metadata, times, containers of no pod', async () => {
    const { runtime } = agent.client;
    await refused(
      () => runtime.runPodSandbox({ config: undefined, runtimeHandler: '' }),
      'invalid-argument',
      /config\.metadata is missing/,
    );
    const request = containerRequest(pod, 'c', shell('true'));
    request.config!.metadata = undefined;
    await refused(() => runtime.createContainer(request), 'invalid-argument', /config\.metadata/);
    await refused(
      () => runtime.createContainer(containerRequest('e'.repeat(64), 'c', shell('true'))),
      'not-found',
      /pod sandbox "e+"/,
    );
    await refused(
      () => runtime.createContainer(containerRequest('', 'c', shell('true'))),
      'invalid-argument',
      /pod sandbox id is empty/,
    );
    await refused(
      () => runtime.stopContainer({ containerId: 'f'.repeat(64), timeout: -1n }),
      'invalid-argument',
      /timeout -1 is negative/,
    );
    await refused(
      () => runtime.execSync({ containerId: 'f'.repeat(64), cmd: ['x'], timeout: -5n }),
      'invalid-argument',
      /timeout -5 is negative/,
    );
    await refused(
      () => create('c', { stopSignal: 999 as Signal }),
      'invalid-argument',
      /stop_signal 999/,
    );
    for (const call of [
      () => runtime.reopenContainerLog({ containerId: unknown }),
      () => runtime.execSync({ containerId: unknown, cmd: ['x'], timeout: 0n }),
      () => runtime.containerStats({ containerId: unknown }),
    ])
      await refused(call, 'not-found', /container "f+" does not exist/);
    const absent = await agent.client.image.imageStatus({
      image: spec('example.org/absent:1'),
      verbose: false,
    });
    assert.equal(absent.image, undefined);
    await agent.client.image.removeImage({ image: spec('example.org/absent:1') });
  });

  it('resolves a symlink in the image inside the container alone', async () => {
    const victim = join(agent.folder, 'victim');
    mkdirSync(victim);
    writeFileSync(join(victim, 'marker'), 'the host');
    const container = await create('link', {
      command: shell('ls /mnt; ls -a /data'),
      mounts: [{ containerPath: '/home/link/x', hostPath: victim }],
    });
    await agent.client.runtime.removeContainer({ containerId: container });
    assert.equal(readFileSync(join(victim, 'marker'), 'utf8'), 'the host');
  });

  it('names a missing image, an unknown user, an unknown capability and a missing command', async () => {
    await refused(
      () => create('c', { image: { image: 'example.org/nope:1' } }),
      'not-found',
      /nope:1.*pull it first/,
    );
    await refused(
      () => create('c', { linux: { securityContext: { runAsUsername: 'ghost' } } }),
      'invalid-argument',
      /"ghost" is not in the image's \/etc\/passwd/,
    );
    await refused(
      () =>
        create('c', { linux: { securityContext: { capabilities: { addCapabilities: ['FLY'] } } } }),
      'invalid-argument',
      /"FLY"/,
    );
  });

  it('names a log folder that is missing, and a log file that is a symlink', async () => {
    await refused(
      () => create('c', { logPath: 'no/such/folder.log' }),
      'not-found',
      /log folder .*no\/such does not exist/,
    );
    const target = join(agent.folder, 'precious');
    writeFileSync(target, 'precious');
    symlinkSync(target, join(agent.logs, 'trap.log'));
    await refused(() => create('trap'), 'invalid-argument', /trap\.log.*not a symlink/);
    assert.equal(readFileSync(target, 'utf8'), 'precious');
    rmSync(join(agent.logs, 'trap.log'));
  });

  it('says at StartContainer what cannot be run, and keeps the container as evidence', async () => {
    for (const [command, text] of [
      ['/no/such/binary', /\/no\/such\/binary.*ENOENT/],
      ['nowhere-on-path', /nowhere-on-path.*ENOENT/],
      ['/etc/passwd', /\/etc\/passwd.*EACCES/],
    ] as const) {
      const containerId = await create('c', { command: [command] });
      await assert.rejects(agent.client.runtime.startContainer({ containerId }), text);
      for (;;) {
        const { status } = await agent.client.runtime.containerStatus({
          containerId,
          verbose: false,
        });
        if (status?.state !== ContainerState.CONTAINER_EXITED) continue;
        assert.equal(status.reason, 'ContainerCannotRun');
        assert.ok(status.exitCode >= 126 && status.exitCode <= 128, String(status.exitCode));
        break;
      }
      await agent.client.runtime.removeContainer({ containerId });
    }
  });

  it('undoes a pod whose network plugin is missing or fails', async () => {
    const file = join(agent.confDir, '00-broken.conflist');
    const conflist = (type: string) =>
      JSON.stringify({ cniVersion: '1.0.0', name: 'broken', plugins: [{ type }] });
    const run = () => agent.client.runtime.runPodSandbox(podRequest(agent, 'broken'));
    writeFileSync(file, conflist('no-such-plugin'));
    await refused(run, 'failed-precondition', /broken.*no-such-plugin/);
    const plugin = `#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\necho '{"code": 11, "msg": "no room"}'\nexit 1\n`;
    writeFileSync(join(agent.binDir, 'full'), plugin, { mode: 0o755 });
    writeFileSync(file, conflist('full'));
    await refused(run, 'unavailable', /broken.*full.*no room/);
    rmSync(file);
    assert.ok(!existsSync(file));
  });

  it('survives a full disk at the container folder', async () => {
    const containers = join(agent.root, 'containers');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k,nr_inodes=2', 'tmpfs', containers]);
    try {
      await assert.rejects(create('full'), { kind: 'resource-exhausted' });
    } finally {
      execFileSync('umount', [containers]);
    }
    const id = await create('full');
    await agent.client.runtime.removeContainer({ containerId: id });
  });

  it('adopts a repeated request and refuses a different one of the same name', async () => {
    const again = await agent.client.runtime.runPodSandbox(podRequest(agent, 'pod'));
    assert.equal(again.podSandboxId, pod);
    await refused(
      () => agent.client.runtime.runPodSandbox(podRequest(agent, 'pod', { hostname: 'else' })),
      'already-exists',
      new RegExp(`default/pod.*${pod}`),
    );
    const first = await create('twin');
    assert.equal(await create('twin'), first);
    await agent.client.runtime.removeContainer({ containerId: first });
  });

  it('refuses what it does not support instead of ignoring it', async () => {
    await refused(
      () =>
        agent.client.runtime.runPodSandbox({ ...podRequest(agent, 'h'), runtimeHandler: 'kata' }),
      'not-found',
      /"kata"/,
    );
  });
});
