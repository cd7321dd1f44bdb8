/** AppArmor profiles through CRI, on a host that has it: seen from the host, enforced, in execs too. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import type { LinuxContainerSecurityContext } from '../../../src/cri/gen/security.js';
import { SecurityProfile_ProfileType as ProfileType } from '../../../src/cri/gen/security.js';
import { DEFAULT_APPARMOR_PROFILE } from '../../../src/core/apparmor-profile.js';
import { CGROUP_ROOT, TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';

type Security = Parameters<typeof LinuxContainerSecurityContext.fromPartial>[0];

const PARSER = '/sbin/apparmor_parser';
const NAME = `pvecri-test-${process.pid}`;
const PROFILE = `abi <abi/3.0>,
profile ${NAME} flags=(attach_disconnected,mediate_deleted) {
  capability,
  file,
  mount,
  network,
  signal,
  umount,
  deny /secret rwx,
}
`;
const localhost = { profileType: ProfileType.Localhost, localhostRef: NAME };
const unconfined = { profileType: ProfileType.Unconfined };

describe('AppArmor', function () {
  this.timeout(180_000);
  let agent: TestAgent;
  let pod: string;
  let made = 0;

  const parser = (flag: string, text: string): void => {
    execFileSync(PARSER, [flag], { input: text, stdio: ['pipe', 'ignore', 'pipe'] });
  };
  const profiles = (): string => readFileSync('/sys/kernel/security/apparmor/profiles', 'utf8');

  before(async function () {
    const enabled = existsSync('/sys/module/apparmor/parameters/enabled')
      ? readFileSync('/sys/module/apparmor/parameters/enabled', 'utf8').trim()
      : 'N';
    if (enabled !== 'Y' || !existsSync(PARSER)) this.skip(); // the host has no AppArmor
    parser('--replace', PROFILE);
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
    const request = podRequest(agent, 'pod', {
      linux: {
        securityContext: {
          privileged: true,
          namespaceOptions: { pid: NamespaceMode.CONTAINER },
        },
      },
    });
    pod = (await agent.client.runtime.runPodSandbox(request)).podSandboxId;
  });

  after(async () => {
    // Nothing was made where the tests are skipped.
    if ((agent as TestAgent | undefined) === undefined) return;
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(await agent.close(), []);
    parser('--remove', PROFILE);
  });

  const create = async (securityContext: Security, script = 'sleep 600'): Promise<string> => {
    const request = containerRequest(pod, `c${(made += 1)}`, shell(script), {
      linux: { securityContext },
    });
    return (await agent.client.runtime.createContainer(request)).containerId;
  };
  const run = async (securityContext: Security, script?: string): Promise<string> => {
    const containerId = await create(securityContext, script);
    await agent.client.runtime.startContainer({ containerId });
    return containerId;
  };
  const exec = async (containerId: string, script: string): Promise<string> => {
    const answer = await agent.client.runtime.execSync({
      containerId,
      cmd: shell(`{ ${script}; } 2>&1`),
      timeout: 60n,
    });
    return Buffer.from(answer.stdout).toString();
  };
  /** Labels of every program that runs in a container, as the host sees them. */
  const labels = async (containerId: string): Promise<string[]> => {
    const { info } = await agent.client.runtime.containerStatus({ containerId, verbose: true });
    const { cgroup } = JSON.parse(info.get('info') ?? '') as { cgroup: string };
    return execFileSync('find', [
      CGROUP_ROOT + cgroup,
      '-name',
      'cgroup.procs',
      '-exec',
      'cat',
      '{}',
      '+',
    ])
      .toString()
      .trim()
      .split('\n')
      .flatMap((each) => {
        try {
          // Before its execve the helper has no label; afterwards it is no helper any more.
          if (readFileSync(`/proc/${each}/cmdline`, 'utf8').startsWith('pvecri-')) return [];
          return [readFileSync(`/proc/${each}/attr/current`, 'utf8').trim()];
        } catch {
          return []; // it has ended
        }
      });
  };
  const remove = (containerId: string): Promise<unknown> =>
    agent.client.runtime.removeContainer({ containerId });
  /** While `sleep` runs as an exec, its label is among those of the container. */
  const expectLabel = async (securityContext: Security, label: string): Promise<string> => {
    const id = await run(securityContext);
    const sleeping = agent.client.runtime.execSync({
      containerId: id,
      cmd: ['/bin/sleep', '30'],
      timeout: 60n,
    });
    let found = await labels(id);
    for (let i = 0; i < 100 && found.length < 2; i++) found = await labels(id);
    assert.deepEqual([...new Set(found)], [label]);
    assert.ok(found.length >= 2);
    assert.equal(await exec(id, 'cat /proc/self/attr/current'), `${label}\n`);
    await exec(id, 'pkill sleep || killall sleep');
    await sleeping.catch(() => undefined);
    return id;
  };

  it('confines by the default profile unless another is named', async () => {
    await remove(await expectLabel({}, `${DEFAULT_APPARMOR_PROFILE} (enforce)`));
    const asked = { apparmor: { profileType: ProfileType.RuntimeDefault }, noNewPrivs: true };
    await remove(await expectLabel(asked, `${DEFAULT_APPARMOR_PROFILE} (enforce)`));
    await remove(await expectLabel({ apparmor: unconfined }, 'unconfined'));
  });

  it('lets the default do what programs do, and nothing to the host', async () => {
    const id = await run({
      capabilities: { addCapabilities: ['SYS_ADMIN', 'SYS_PTRACE'] },
      seccomp: unconfined,
    });
    const script = `
      echo x > /file && cp /bin/busybox /tmp/busybox && /tmp/busybox true && echo files
      nc -l -p 7777 -e true & sleep 1; nc 127.0.0.1 7777 < /dev/null && echo tcp
      sleep 100 & kill -9 $! && echo signals
      mount -t tmpfs none /tmp || echo no-mount
      echo 1 > /proc/sys/vm/drop_caches || echo no-sysctl
      echo h > /proc/sysrq-trigger || echo no-sysrq
      cat /proc/kcore > /dev/null || echo no-kcore`;
    const output = await exec(id, script);
    for (const word of ['files', 'tcp', 'signals', 'no-mount', 'no-sysctl', 'no-sysrq', 'no-kcore'])
      assert.match(output, new RegExp(`^${word}$`, 'm'), output);
    await agent.client.runtime.stopContainer({ containerId: id, timeout: 0n });
    await remove(id);
  });

  it('confines by a profile that is named, and by the superseded string', async () => {
    const id = await expectLabel({ apparmor: localhost }, `${NAME} (enforce)`);
    assert.match(await exec(id, 'echo x > /secret'), /Permission denied/);
    assert.equal(await exec(id, 'echo x > /open && cat /open'), 'x\n');
    await remove(id);
    const prefixed = { profileType: ProfileType.Localhost, localhostRef: `localhost/${NAME}` };
    await remove(await expectLabel({ apparmor: prefixed }, `${NAME} (enforce)`));
    /* eslint-disable @typescript-eslint/no-deprecated -- older kubelets know nothing else */
    await remove(await expectLabel({ apparmorProfile: `localhost/${NAME}` }, `${NAME} (enforce)`));
    await remove(await expectLabel({ apparmorProfile: 'unconfined' }, 'unconfined'));
    /* eslint-enable @typescript-eslint/no-deprecated */
  });

  it('leaves a privileged container alone unless a profile is named', async () => {
    await remove(await expectLabel({ privileged: true }, 'unconfined'));
    const id = await expectLabel({ privileged: true, apparmor: localhost }, `${NAME} (enforce)`);
    await remove(id);
  });

  it('fails closed when a profile is not there, at creation, start and exec', async () => {
    const before = agent.left().sort();
    await assert.rejects(
      create({ apparmor: { profileType: ProfileType.Localhost, localhostRef: 'pvecri-nowhere' } }),
      { kind: 'not-found', message: /"pvecri-nowhere" is not loaded/ },
    );
    assert.deepEqual(agent.left().sort(), before);
    const created = await create({ apparmor: localhost }, 'echo ran');
    const running = await run({ apparmor: localhost });
    parser('--remove', PROFILE);
    try {
      await assert.rejects(agent.client.runtime.startContainer({ containerId: created }), {
        kind: 'not-found',
        message: new RegExp(`cannot use AppArmor profile "${NAME}"`),
      });
      await assert.rejects(exec(running, 'true'), /cannot use AppArmor profile/);
    } finally {
      parser('--replace', PROFILE);
    }
    await remove(created);
    await remove(running);
  });

  it('loads the default again when somebody has taken it away', async () => {
    parser('--remove', `profile ${DEFAULT_APPARMOR_PROFILE} {}`);
    assert.doesNotMatch(profiles(), new RegExp(`^${DEFAULT_APPARMOR_PROFILE} `, 'm'));
    await remove(await run({ apparmor: { profileType: ProfileType.RuntimeDefault } }));
    assert.match(profiles(), new RegExp(`^${DEFAULT_APPARMOR_PROFILE} `, 'm'));
  });

  // In few processes, so that the number of the next one is among those that are faked.
  const fake =
    'seq 1 300 | sed "s#.*#/fake/&/attr/apparmor#" > /l; xargs mkdir -p < /l; sed "s#$#/exec#" /l | xargs touch';
  for (const hide of [
    'mount -t tmpfs none /proc',
    `${fake}; mount --bind /fake /proc`,
    'umount -l /proc',
  ]) {
    it(`lets no mount over /proc swallow the label of an exec: ${hide}`, async () => {
      const id = await run({ privileged: true, apparmor: localhost }, `${hide}; sleep 600`);
      for (let i = 0; ; i++) {
        let refusal = '';
        const command = { containerId: id, cmd: ['/bin/sleep', '1'], timeout: 60n };
        const running = agent.client.runtime.execSync(command).catch((error: unknown) => {
          refusal = String(error);
        });
        const seen = await labels(id);
        await running;
        seen.push(...(await labels(id)));
        assert.deepEqual([...new Set(seen)], [`${NAME} (enforce)`]);
        // Whichever of our own files comes first is the one that is missed.
        if (/cannot use AppArmor profile|oom_score_adj/.test(refusal)) break;
        assert.equal(refusal, '');
        assert.ok(i < 30, 'the mount is not there');
      }
      await remove(id);
    });
  }
});
