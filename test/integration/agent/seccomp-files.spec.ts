/** Seccomp profile files through CRI: enforced in the payload and in every exec, read when created. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import type { LinuxContainerSecurityContext } from '../../../src/cri/gen/security.js';
import { SecurityProfile_ProfileType as ProfileType } from '../../../src/cri/gen/security.js';
import { TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';

type Security = Partial<LinuxContainerSecurityContext>;

describe('seccomp profile files', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pod: string;
  let file: string;

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
    const request = podRequest(agent, 'pod', {
      linux: {
        securityContext: {
          privileged: true,
          namespaceOptions: { pid: NamespaceMode.CONTAINER },
        },
      },
    });
    pod = (await agent.client.runtime.runPodSandbox(request)).podSandboxId;
    file = join(agent.folder, 'profile.json');
  });

  after(async () => {
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(await agent.close(), []);
  });

  const localhost = (path = file) => ({ profileType: ProfileType.Localhost, localhostRef: path });
  const deny = (action: string, more: object = {}, name = 'chmod'): void => {
    writeFileSync(
      file,
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
        syscalls: [{ names: [name, 'fchmodat', 'fchmodat2'], action, ...more }],
      }),
    );
  };
  const run = async (name: string, script: string, securityContext: Security): Promise<string> => {
    const { containerId } = await agent.client.runtime.createContainer(
      containerRequest(pod, name, shell(script), { linux: { securityContext } }),
    );
    await agent.client.runtime.startContainer({ containerId });
    return containerId;
  };
  const exec = async (containerId: string, script: string) => {
    const answer = await agent.client.runtime.execSync({
      containerId,
      cmd: shell(script),
      timeout: 30n,
    });
    return { code: answer.exitCode, text: Buffer.from(answer.stdout).toString() };
  };

  for (const noNewPrivs of [false, true]) {
    it(`bind payload and exec, ${noNewPrivs ? 'with' : 'without'} no_new_privs, also after a restart and when the file has changed`, async () => {
      deny('SCMP_ACT_ERRNO', { errnoRet: 28 });
      const name = `bound-${String(noNewPrivs)}`;
      const script = 'grep -E "^(Seccomp|NoNewPrivs):" /proc/self/status; chmod 700 /tmp; sleep 60';
      const id = await run(name, script, { seccomp: localhost(), noNewPrivs });
      const check = async (): Promise<void> => {
        const { text } = await exec(id, 'chmod 700 /tmp 2>&1; grep Seccomp: /proc/self/status');
        assert.match(text, /No space left on device\nSeccomp:\t2\n/);
      };
      await check();
      let log = '';
      for (let i = 0; i < 100 && !log.includes('chmod: '); i++) {
        await sleep(50);
        log = agent.readLog(`${name}.log`);
      }
      assert.match(log, /Seccomp:\t2\n/);
      assert.match(log, new RegExp(`NoNewPrivs:\t${noNewPrivs ? 1 : 0}\n`));
      assert.match(log, /chmod: .*No space left on device/);
      writeFileSync(file, '{"defaultAction":"SCMP_ACT_ALLOW"}');
      await check();
      await agent.stop('SIGKILL');
      rmSync(file);
      await agent.start();
      await check();
      await agent.client.runtime.removeContainer({ containerId: id });
    });
  }

  it('end a process by the action they name', async () => {
    for (const [action, code] of [
      ['SCMP_ACT_KILL_PROCESS', 159],
      ['SCMP_ACT_KILL', 159],
      ['SCMP_ACT_TRAP', 159],
    ] as const) {
      deny(action);
      const id = await run('ended', 'sleep 60', { seccomp: localhost() });
      assert.equal((await exec(id, 'exec chmod 700 /tmp')).code, code, action);
      assert.equal((await exec(id, 'true')).code, 0);
      await agent.client.runtime.removeContainer({ containerId: id });
    }
    // Without a tracer a traced call does not exist.
    deny('SCMP_ACT_TRACE');
    const id = await run('traced', 'sleep 60', { seccomp: localhost() });
    assert.match((await exec(id, 'chmod 700 /tmp 2>&1')).text, /Function not implemented/);
    await agent.client.runtime.removeContainer({ containerId: id });
  });

  it('decide by arguments', async () => {
    // S_IFCHR alone: FIFOs and files may be made.
    deny('SCMP_ACT_ERRNO', {
      names: ['mknodat'],
      args: [{ index: 2, value: 0o170000, valueTwo: 0o020000, op: 'SCMP_CMP_MASKED_EQ' }],
    });
    const id = await run('arguments', 'sleep 60', { seccomp: localhost() });
    const { text } = await exec(id, 'mknod /c c 1 3 2>&1; mknod /p p && echo made');
    assert.match(text, /Operation not permitted\nmade\n/);
    await agent.client.runtime.removeContainer({ containerId: id });
  });

  it('may be named by the superseded string', async () => {
    deny('SCMP_ACT_ERRNO');
    /* eslint-disable @typescript-eslint/no-deprecated -- older kubelets know nothing else */
    const prefixed = await run('string', 'sleep 60', { seccomp: localhost(`localhost/${file}`) });
    assert.equal(await exec(prefixed, 'chmod 700 /tmp').then(({ code }) => code), 1);
    await agent.client.runtime.removeContainer({ containerId: prefixed });
    for (const [seccompProfilePath, mode] of [
      [`localhost/${file}`, 2],
      ['runtime/default', 2],
      ['docker/default', 2],
      ['unconfined', 0],
    ] as const) {
      const id = await run('string', 'sleep 60', { seccompProfilePath });
      const { text } = await exec(id, 'grep Seccomp: /proc/self/status');
      assert.equal(text, `Seccomp:\t${mode}\n`, seccompProfilePath);
      await agent.client.runtime.removeContainer({ containerId: id });
    }
    await assert.rejects(run('string', 'true', { seccompProfilePath: 'none' }), {
      kind: 'invalid-argument',
      message: /seccomp_profile_path "none" is unknown/,
    });
  });

  it('are no matter to a privileged container, which may have no_new_privs all the same', async () => {
    const id = await run('privileged', 'sleep 60', {
      privileged: true,
      noNewPrivs: true,
      seccomp: localhost('/nowhere'),
    });
    const { text } = await exec(id, 'grep -E "^(NoNewPrivs|Seccomp):" /proc/self/status');
    assert.equal(text, 'NoNewPrivs:\t1\nSeccomp:\t0\n');
    await agent.client.runtime.removeContainer({ containerId: id });
  });

  it('that are missing, malformed or no files fail the creation, and nothing is left', async () => {
    const before = agent.left().sort();
    const refused = (path: string, kind: string, message: RegExp): Promise<void> =>
      assert.rejects(run('refused', 'true', { seccomp: localhost(path) }), { kind, message });
    await refused(join(agent.folder, 'nowhere.json'), 'not-found', /does not exist/);
    await refused('profile.json', 'invalid-argument', /must be an absolute path/);
    await refused(`${agent.folder}/x/../profile.json`, 'invalid-argument', /must not contain/);
    await refused(agent.folder, 'failed-precondition', /not a regular file/);
    await refused('/dev/zero', 'failed-precondition', /not a regular file/);
    deny('SCMP_ACT_DENY');
    await refused(
      file,
      'invalid-argument',
      /profile\.json\.syscalls\[0\]\.action "SCMP_ACT_DENY" is unknown/,
    );
    deny('SCMP_ACT_NOTIFY');
    await refused(file, 'unimplemented', /notifier is not supported/);
    deny('SCMP_ACT_ERRNO', {}, 'no_such_call');
    await refused(file, 'invalid-argument', /no_such_call.*libseccomp does not know the call/);
    writeFileSync(file, Buffer.alloc((1 << 20) + 1, 32));
    await refused(file, 'invalid-argument', /larger than 1048576 bytes/);
    assert.deepEqual(agent.left().sort(), before);
  });
});
