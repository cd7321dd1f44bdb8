/** CDI devices: what a file on the node describes is in the container, by field and by annotation. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestAgent } from '../../support/agent.js';
import { PodClient } from '../../support/pod-client.js';

describe('CDI devices', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;
  let folder: string;
  const named = (...names: string[]) => ({ CDIDevices: names.map((name) => ({ name })) });

  before(async () => {
    agent = new TestAgent();
    folder = join(agent.folder, 'cdi');
    const dirs = JSON.stringify([folder, join(agent.folder, 'cdi-later')]);
    const toml = readFileSync(agent.configFile, 'utf8');
    writeFileSync(agent.configFile, `${toml}\n[devices]\ncdi_spec_dirs = ${dirs}\n`);
    mkdirSync(join(folder, 'library'), { recursive: true });
    writeFileSync(join(folder, 'library/lib.so'), 'library\n');
    execFileSync('mknod', ['-m', '600', join(folder, 'node'), 'c', '10', '229']);
    // What a hook is told lies beside it, by the step it was run at.
    writeFileSync(join(folder, 'hook'), `#!/bin/sh\ncat > "${folder}/state-$1"\n`);
    writeFileSync(join(folder, 'bad-hook'), '#!/bin/sh\necho no such card >&2; exit 3\n');
    for (const name of ['hook', 'bad-hook']) chmodSync(join(folder, name), 0o755);
    const hook = (hookName: string) => ({
      ...{ hookName, path: join(folder, 'hook'), args: ['hook', hookName] },
    });
    writeFileSync(
      join(folder, 'gpu.json'),
      JSON.stringify({
        cdiVersion: '1.0.0',
        kind: 'vendor.com/gpu',
        containerEdits: { env: ['GPUS=all'], additionalGids: [4711] },
        devices: [
          {
            name: '0',
            containerEdits: {
              env: ['GPU=0'],
              deviceNodes: [
                { path: '/dev/gpu0', hostPath: join(folder, 'node'), permissions: 'rw' },
              ],
              mounts: [
                {
                  hostPath: join(folder, 'library'),
                  containerPath: '/usr/vendor',
                  options: ['ro', 'nosuid', 'nodev', 'rbind', 'rprivate'],
                },
              ],
              hooks: ['prestart', 'createRuntime', 'poststart', 'poststop'].map(hook),
            },
          },
          { name: 'broken', containerEdits: { deviceNodes: [{ path: '/dev/absent-device' }] } },
          {
            name: 'nowhere',
            containerEdits: { mounts: [{ hostPath: '/absent/x', containerPath: '/x' }] },
          },
          {
            name: 'hooked',
            containerEdits: {
              hooks: [{ hookName: 'createRuntime', path: join(folder, 'bad-hook') }],
            },
          },
          {
            name: 'inside',
            containerEdits: { hooks: [{ hookName: 'createContainer', path: '/bin/true' }] },
          },
        ],
      }),
    );
    writeFileSync(
      join(folder, 'nic.yaml'),
      [
        'cdiVersion: "0.6.0"',
        'kind: vendor.com/nic',
        'devices:',
        '  - name: eth',
        '    containerEdits:',
        '      env: [NIC=eth]',
      ].join('\n'),
    );
    writeFileSync(join(folder, 'damaged.json'), '{"cdiVersion":');
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
    pod = await pods.run('pod');
  });

  after(async () => {
    await pods.removePod(pod);
    assert.deepEqual(await agent.close(), []);
  });

  it('bring their node, mount, environment and group', async () => {
    const text = await pods.output(
      pod,
      'echo $GPUS $GPU; stat -c "%F %t:%T %a" /dev/gpu0; (exec 3<>/dev/gpu0) && echo open; cat /usr/vendor/lib.so; touch /usr/vendor/x 2>&1; id -G; grep /usr/vendor /proc/self/mounts',
      named('vendor.com/gpu=0'),
    );
    const lines = text.split('\n');
    assert.deepEqual(lines.slice(0, 4), [
      'all 0',
      'character special file a:e5 600',
      'open',
      'library',
    ]);
    assert.match(lines[4] ?? '', /Read-only file system/);
    assert.match(lines[5] ?? '', /\b4711\b/);
    assert.match(lines[6] ?? '', / ro,nosuid,nodev/);
  });

  it('have their hooks run at each step, with the state of the container', async () => {
    const id = await pods.create(pod, 'sleep 100', named('vendor.com/gpu=0'));
    const state = (step: string): Record<string, unknown> =>
      JSON.parse(readFileSync(join(folder, `state-${step}`), 'utf8')) as Record<string, unknown>;
    for (const step of ['prestart', 'createRuntime']) assert.equal(state(step)['id'], id);
    assert.ok(Number(state('createRuntime')['pid']) > 0);
    await agent.client.runtime.startContainer({ containerId: id });
    assert.equal(state('poststart')['status'], 'running');
    await pods.remove(id);
    assert.equal(state('poststop')['id'], id);
  });

  it('are named by annotations too, and described in YAML', async () => {
    const text = await pods.output(pod, 'echo $GPU $NIC', {
      annotations: new Map([['cdi.k8s.io/plugin', 'vendor.com/nic=eth,vendor.com/gpu=0']]),
      ...named('vendor.com/gpu=0'),
    });
    assert.equal(text.trim(), '0 eth');
  });

  it('belong to the user of the container', async () => {
    const text = await pods.output(pod, 'stat -c %u:%g /dev/gpu0', {
      ...named('vendor.com/gpu=0'),
      linux: { securityContext: { runAsUser: { value: 1234n }, runAsGroup: { value: 99n } } },
    });
    assert.equal(text.trim(), '1234:99');
  });

  for (const [what, name, kind, message] of [
    [
      'is in no file',
      'vendor.com/gpu=9',
      'not-found',
      /CDI device vendor\.com\/gpu=9 is in no file of .*cdi.*damaged\.json is malformed/,
    ],
    ['is no name', 'gpu', 'invalid-argument', /"gpu" is no name of a CDI device/],
    ['has a node that the host lacks', 'vendor.com/gpu=broken', 'not-found', /absent-device/],
    [
      'has a mount that the host lacks',
      'vendor.com/gpu=nowhere',
      'failed-precondition',
      /CDI mount \/absent\/x/,
    ],
    [
      'has a hook that fails',
      'vendor.com/gpu=hooked',
      'aborted',
      /createRuntime hook .* code 3: no such card/,
    ],
    [
      'has a hook that cannot be run',
      'vendor.com/gpu=inside',
      'unimplemented',
      /createContainer hook "\/bin\/true"/,
    ],
  ] as const) {
    it(`are refused where one ${what}, and leave nothing behind`, async () => {
      await assert.rejects(pods.create(pod, 'true', named(name)), { kind, message });
      const { containers } = await agent.client.runtime.listContainers({ filter: undefined });
      assert.deepEqual(containers, []);
      assert.ok(!existsSync('/absent'));
    });
  }

  it('are refused where two files of a folder describe the same one; a later folder wins', async () => {
    const eth = readFileSync(join(folder, 'nic.yaml'), 'utf8');
    const later = join(agent.folder, 'cdi-later');
    mkdirSync(later);
    writeFileSync(join(later, 'nic.yml'), eth.replace('NIC=eth', 'NIC=later'));
    assert.equal(
      (await pods.output(pod, 'echo $NIC', named('vendor.com/nic=eth'))).trim(),
      'later',
    );
    writeFileSync(join(later, 'other.yaml'), eth);
    await assert.rejects(pods.create(pod, 'true', named('vendor.com/nic=eth')), {
      kind: 'failed-precondition',
      message: /nic=eth is in both .*nic\.yml and .*other\.yaml/,
    });
  });
});
