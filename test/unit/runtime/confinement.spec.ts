// Seccomp and AppArmor profiles over a node in memory: what is read when, and what a lack of them means.
import assert from 'node:assert/strict';
import { RuntimeError } from '../../../src/core/errors.js';
import { createContainer } from '../../../src/runtime/container-create.js';
import { startContainer } from '../../../src/runtime/container-start.js';
import { filterForExec } from '../../../src/runtime/container-seccomp.js';
import type { RuntimeContext } from '../../../src/runtime/context.js';
import { runSandbox } from '../../../src/runtime/sandbox-run.js';
import { FakeNode } from '../../fakes/node.js';
import { containerRequest, sandboxRequest } from '../../fakes/requests.js';

const PATH = '/var/lib/kubelet/seccomp/p.json';

describe('confinement', () => {
  let node: FakeNode;
  let context: RuntimeContext;
  let pod: string;

  const begin = async (): Promise<void> => {
    context = node.context();
    pod = await runSandbox(context, sandboxRequest());
  };
  const create = (change: Parameters<typeof containerRequest>[1]): Promise<string> =>
    createContainer(context, containerRequest(pod, change));
  const processOf = (id: string) => {
    const shim = node.shims.get(id);
    assert.ok(shim);
    return shim.spec.process;
  };
  const refused = async (
    change: Parameters<typeof containerRequest>[1],
    kind: string,
    message: RegExp,
  ): Promise<void> => {
    const before = node.left();
    await assert.rejects(create(change), { kind, message });
    assert.deepEqual(node.left(), before);
  };

  beforeEach(async () => {
    node = new FakeNode();
    node.addImage('busybox', { cmd: ['/bin/sh'] });
    await begin();
  });

  it('reads a seccomp file at each creation, and keeps the filter for execs', async () => {
    node.hostFiles.set(
      PATH,
      '{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ERRNO"}]}',
    );
    const first = await create({ seccomp: `localhost/${PATH}` });
    assert.deepEqual(node.compiled.at(-1), {
      fallback: { action: 'allow' },
      architectures: [],
      rules: [{ names: ['chmod'], action: 'errno' }],
    });
    const { seccomp, seccompFlags } = processOf(first);
    assert.equal(seccompFlags, 2);
    node.hostFiles.set(PATH, '{"defaultAction":"SCMP_ACT_LOG"}');
    await create({ metadata: { name: 'second', attempt: 0 }, seccomp: `localhost/${PATH}` });
    assert.equal(node.compiled.at(-1)?.fallback.action, 'log');
    await startContainer(context, first);
    const { record } = context.objects.container(first);
    assert.deepEqual(await filterForExec(context, record), seccomp);
    assert.equal(record.process.seccompFlags, 2);
  });

  it('fails closed without the file, or with a bad one', async () => {
    await refused(
      { seccomp: `localhost/${PATH}` },
      'not-found',
      /seccomp profile \/var.* not exist/,
    );
    node.hostFiles.set(PATH, '{"defaultAction":"SCMP_ACT_ALOW"}');
    await refused(
      { seccomp: `localhost/${PATH}` },
      'invalid-argument',
      /^seccomp profile \/var\/lib\/kubelet\/seccomp\/p\.json\.defaultAction "SCMP_ACT_ALOW"/,
    );
    node.containerFiles.clear();
    const id = await create({});
    const { record } = context.objects.container(id);
    await assert.rejects(
      filterForExec(context, { ...record, seccompProfile: `localhost/${PATH}` }),
    );
  });

  it('refuses a path that is relative or leads up', async () => {
    for (const path of ['p.json', '/a/../b', '', '/a\nb']) {
      await refused({ seccomp: `localhost/${path}` }, 'invalid-argument', /seccomp localhost_ref/);
    }
  });

  it('gives a privileged container no filter, whatever is named', async () => {
    await refused(
      { privileged: true, seccomp: 'localhost//missing' },
      'invalid-argument',
      /privileged.*pod sandbox .* is not/,
    );
    const pod2 = await runSandbox(
      context,
      sandboxRequest({
        privileged: true,
        metadata: { name: 'p', uid: 'p', namespace: 'd', attempt: 0 },
      }),
    );
    const id = await createContainer(
      context,
      containerRequest(pod2, { privileged: true, seccomp: 'localhost//missing', apparmor: null }),
    );
    assert.equal(processOf(id).seccomp, null);
    assert.equal(processOf(id).apparmorProfile, null);
  });

  it('takes the default AppArmor profile for granted where there is no AppArmor', async () => {
    for (const [index, apparmor] of [null, 'runtime-default', 'unconfined'].entries()) {
      const id = await create({
        metadata: { name: `c${index}`, attempt: 0 },
        apparmor: apparmor as 'runtime-default',
      });
      assert.equal(processOf(id).apparmorProfile, null);
    }
    await refused(
      { apparmor: 'localhost/shop' },
      'failed-precondition',
      /"shop" is asked for, but AppArmor is not enabled/,
    );
  });

  describe('with AppArmor', () => {
    beforeEach(async () => {
      node.appArmorProfiles = new Set(['shop']);
      context = node.context();
      pod = await runSandbox(
        context,
        sandboxRequest({
          metadata: { name: 'aa', uid: 'aa', namespace: 'd', attempt: 0 },
          privileged: true,
        }),
      );
    });

    it('gives the default unless something else is named', async () => {
      const expected: [Parameters<typeof containerRequest>[1], string | null][] = [
        [{ apparmor: null }, 'pvecri-default'],
        [{ apparmor: 'runtime-default' }, 'pvecri-default'],
        [{ apparmor: 'unconfined' }, null],
        [{ apparmor: 'localhost/shop' }, 'shop'],
        [{ apparmor: null, privileged: true }, null],
        [{ apparmor: 'runtime-default', privileged: true }, null],
        [{ apparmor: 'localhost/shop', privileged: true }, 'shop'],
      ];
      for (const [index, [change, profile]] of expected.entries()) {
        const id = await create({ metadata: { name: `c${index}`, attempt: 0 }, ...change });
        assert.equal(processOf(id).apparmorProfile, profile, JSON.stringify(change));
      }
    });

    it('refuses a profile that is not loaded, or is no name', async () => {
      await refused({ apparmor: 'localhost/shops' }, 'not-found', /"shops" is not loaded/);
      for (const name of ['', 'a\nb', 'x'.repeat(256)]) {
        await refused(
          { apparmor: `localhost/${name}` },
          'invalid-argument',
          /apparmor localhost_ref/,
        );
      }
    });

    it('says why the default cannot be had to who asked for it, and to the log for others', async () => {
      node.failures.set(
        'appArmor.loadDefault',
        new RuntimeError('failed-precondition', 'parser is missing'),
      );
      await refused({ apparmor: 'runtime-default' }, 'failed-precondition', /parser is missing/);
      const id = await create({ apparmor: null });
      assert.equal(processOf(id).apparmorProfile, null);
      assert.ok(node.logged.includes('warn: a container runs without AppArmor profile'));
    });
  });
});
