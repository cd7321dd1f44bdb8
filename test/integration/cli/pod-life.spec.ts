/** The command's way through the life of a pod, with a real agent and real containers. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { TestAgent } from '../../support/agent.js';
import { pvecri } from './command.js';
import type { Run, RunOptions } from './command.js';

const IMAGE = 'example.org/busybox:1';

interface Container {
  name: string;
  [field: string]: unknown;
}

function manifest(name: string, containers: Container[], spec: object = {}): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', labels: { app: name } },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      containers: containers.map((container) => ({ image: IMAGE, ...container })),
      ...spec,
    },
  });
}

const shell = (script: string): { command: string[] } => ({ command: ['sh', '-c', script] });
/** Runs until it is asked to end. */
const STAYS = shell('trap "exit 0" TERM; sleep 1000 & wait');

describe('pvecri with an agent', () => {
  let agent: TestAgent;
  const run = (args: string[], options?: RunOptions): Promise<Run> => pvecri(agent, args, options);
  const start = (text: string, ...args: string[]): Promise<Run> =>
    run(['run', '-', '--log-dir', agent.logs, ...args], { stdin: text });
  const json = async (...args: string[]): Promise<unknown> => {
    const { stdout, stderr, code } = await run([...args, '--json']);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  };
  const nothingLeft = async (): Promise<void> => {
    assert.deepEqual(await json('pods'), []);
    assert.deepEqual(readdirSync(agent.logs), []);
    assert.equal(existsSync(join(agent.root, 'run-pods')), false);
  };

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    const { code, stdout, stderr } = await run(['pull', agent.busyboxReference()]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^sha256:[0-9a-f]{64}\n$/);
    assert.match(stderr, /^pulled oci:.*: \d+(\.\d)?[KM]iB in \d+ ms\n$/);
  });

  after(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  describe('a pod of two containers', () => {
    let id: string;

    before(async () => {
      const server = shell(
        'echo "$POD_IP" > /www/index.html; echo out; echo err >&2; printf part; echo ial; httpd -f -h /www & trap "kill $!; exit 0" TERM; wait',
      );
      const env = [{ name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }];
      const volumeMounts = [{ name: 'pages', mountPath: '/www' }];
      const { code, stdout, stderr } = await start(
        manifest(
          'web',
          [
            { name: 'server', ...server, env, volumeMounts },
            { name: 'other', ...STAYS },
          ],
          {
            volumes: [{ name: 'pages', emptyDir: {} }],
          },
        ),
        '--timing',
      );
      assert.equal(code, 0, stderr);
      id = stdout.trim();
      assert.match(id, /^[0-9a-f]{64}$/);
      assert.match(stderr, /pod shop\/web is running at 10\.99\.0\.\d+\n/);
      assert.match(stderr, /^create server +\d+(\.\d)? ms {2} *█/m);
    });

    after(async () => {
      assert.equal((await run(['rm', '-f', id])).code, 0);
      await nothingLeft();
    });

    it('is listed, for people and for programs', async () => {
      const table = await run(['pods']);
      assert.match(table.stdout, /^POD ID +NAMESPACE +NAME +STATE +IP +ATTEMPT +AGE\n/);
      assert.match(table.stdout, /\n[0-9a-f]{13} +shop +web +ready +10\.99\.0\.\d+ +0 +\d+s\n$/);
      assert.equal((await run(['pods', '-q', '--label', 'app=web'])).stdout, `${id}\n`);
      assert.equal((await run(['pods', '-q', '--label', 'app=x'])).stdout, '');
      assert.equal((await run(['pods', '-q', '--state', 'notready'])).stdout, '');
      const [pod] = (await json('pods', '--name', 'web')) as Record<string, unknown>[];
      assert.equal(pod?.['id'], id);
      assert.equal(pod['state'], 'ready');
      assert.deepEqual((pod['labels'] as Record<string, string>)['app'], 'web');
    });

    it('has its containers listed with the name of their image', async () => {
      const { stdout } = await run(['ps', '--pod', 'web']);
      assert.match(
        stdout,
        /\n[0-9a-f]{13} +web +server +example\.org\/busybox:1 +running +0 +\d+s\n/,
      );
      const containers = (await json('ps', '-a')) as Record<string, unknown>[];
      assert.deepEqual(containers.map(({ name }) => name).sort(), ['other', 'server']);
      assert.ok(
        containers.every(({ state, exitCode }) => state === 'running' && exitCode === null),
      );
    });

    it('has one network, and a page in a volume', async () => {
      const inside = await run([
        'exec',
        'web/other',
        '--',
        'wget',
        '-q',
        '-O-',
        'http://127.0.0.1/',
      ]);
      const [pod] = (await json('pods')) as { ips: string[] }[];
      assert.equal(inside.stdout, `${pod?.ips[0] ?? ''}\n`);
      const hosts = await run(['exec', 'web/other', '--', 'cat', '/etc/hosts']);
      assert.ok(hosts.stdout.includes(`${pod?.ips[0] ?? ''}\tweb\n`), hosts.stdout);
    });

    it('has a log, each stream on its own', async () => {
      const logs = await run(['logs', 'server']);
      assert.equal(logs.stdout, 'out\npartial\n');
      assert.equal(logs.stderr, 'err\n');
      const tail = await run(['logs', '--tail', '1', '--timestamps', 'shop/web/server']);
      assert.match(tail.stdout + tail.stderr, /^\d{4}-\d\d-\d\dT\S+Z (err|partial)\n/);
      const late = await run(['logs', '--since', '2999-01-01T00:00:00Z', 'server']);
      assert.equal(late.stdout + late.stderr, '');
    });

    it('runs commands and passes on their code and output', async () => {
      const result = await run(['exec', 'server', '--', 'sh', '-c', 'echo a; echo b >&2; exit 7']);
      assert.deepEqual(result, { code: 7, stdout: 'a\n', stderr: 'b\n' });
      const document = await run(['exec', 'server', '--json', '--', 'sh', '-c', 'echo a; exit 3']);
      assert.equal(document.code, 3);
      assert.deepEqual(JSON.parse(document.stdout), { exitCode: 3, stdout: 'a\n', stderr: '' });
    });

    it('ends a command at its time-out, and not the container', async () => {
      const late = await run(['exec', '--timeout', '1s', 'server', '--', 'sleep', '60']);
      assert.equal(late.code, 124, late.stderr);
      assert.equal((await run(['exec', 'server', '--', 'true'])).code, 0);
    });

    it('gives a command a terminal only where it has one itself', async () => {
      const { code, stderr } = await run(['exec', '-i', '-t', 'server', '--', 'sh']);
      assert.equal(code, 2);
      assert.match(stderr, /-t with -i needs a terminal/);
    });

    it('has figures', async () => {
      const { stdout } = await run(['stats', 'web/server']);
      assert.match(
        stdout,
        /\n[0-9a-f]{13} +web +server +(\d+m|-) +(\d+\.\d\ds|-) +\S+ +\S+ +\d+\n$/,
      );
      const [stats] = (await json('stats', 'web/server')) as { writableLayer: object }[];
      assert.equal(typeof (stats?.writableLayer as { usedBytes: number }).usedBytes, 'number');
    });

    it('can be looked into', async () => {
      const pod = (await json('inspect', 'web')) as { kind: string; status: { id: string } };
      assert.deepEqual([pod.kind, pod.status.id], ['pod', id]);
      const container = (await json('inspect', 'web/server')) as {
        kind: string;
        status: { state: string; mounts: { containerPath: string }[] };
      };
      assert.equal(container.kind, 'container');
      assert.equal(container.status.state, 'running');
      assert.deepEqual(
        container.status.mounts.map(({ containerPath }) => containerPath),
        ['/www', '/etc/hosts', '/dev/termination-log'],
      );
      assert.equal(((await json('inspect', IMAGE)) as { kind: string }).kind, 'image');
    });

    it('is the only one of its name', async () => {
      const { code, stderr } = await start(manifest('web', [{ name: 'main', ...STAYS }]));
      assert.equal(code, 1);
      assert.match(stderr, /^pvecri: pod shop\/web runs already \([0-9a-f]{13}\): remove it/);
      assert.equal(((await json('pods')) as unknown[]).length, 1);
    });

    it('is not removed while it runs', async () => {
      for (const name of ['web', 'web/server']) {
        const { code, stderr } = await run(['rm', name]);
        assert.equal(code, 1);
        assert.match(stderr, /is running: stop it first by pvecri stop, or use --force\n$/);
      }
    });

    it('shows a log until it is told to stop, and what comes meanwhile', async () => {
      const stop = new AbortController();
      const following = run(['logs', '-f', 'other'], { signal: stop.signal });
      await delay(200);
      stop.abort(new Error('SIGINT'));
      assert.deepEqual(await following, { code: 130, stdout: '', stderr: '' });
    });
  });

  it('stops a pod with its own grace period, then removes it', async () => {
    const { stdout } = await start(
      manifest('slow', [
        { name: 'polite', ...STAYS },
        { name: 'deaf', ...shell('trap "" TERM; sleep 1000') },
      ]),
    );
    const following = run(['logs', '-f', 'polite']);
    const started = Date.now();
    assert.deepEqual(await run(['stop', 'slow']), { code: 0, stdout, stderr: '' });
    const took = Date.now() - started;
    assert.ok(took >= 900 && took < 10_000, `${took} ms`);
    assert.equal((await following).code, 0);
    const ended = (await json('ps', '-a')) as { name: string; exitCode: number }[];
    assert.deepEqual(ended.map(({ name, exitCode }) => [name, exitCode]).sort(), [
      ['deaf', 137],
      ['polite', 0],
    ]);
    assert.match((await run(['ps', '-a'])).stdout, /exited \(137\)/);
    assert.equal((await run(['stop', 'slow'])).code, 0);
    assert.equal((await run(['rm', 'slow/deaf'])).code, 0);
    assert.deepEqual(await run(['rm', 'slow']), { code: 0, stdout, stderr: '' });
    await nothingLeft();
  });

  it('waits for a job, passes on its code, and removes it', async () => {
    const { code, stderr } = await start(
      manifest('job', [
        { name: 'good', ...shell('exit 0') },
        { name: 'bad', ...shell('exit 9') },
      ]),
      '--wait',
      '--rm',
    );
    assert.equal(code, 9);
    assert.match(
      stderr,
      /container good ended with exit code 0 \(Completed\)\ncontainer bad ended with exit code 9 \(Error\)\n$/,
    );
    await nothingLeft();
  });

  it('stops waiting at the time-out and leaves the pod', async () => {
    const { code, stdout, stderr } = await start(
      manifest('long', [{ name: 'main', ...STAYS }]),
      '--wait',
      '--timeout',
      '300ms',
    );
    assert.equal(code, 124);
    assert.match(stderr, /container main has not ended within the time-out; the pod runs on/);
    assert.equal((await run(['rm', '-f', stdout.trim()])).code, 0);
    await nothingLeft();
  });

  it('leaves nothing of a pod whose second container cannot start', async () => {
    const text = manifest('broken', [
      { name: 'first', ...STAYS },
      { name: 'second', command: ['/no/such/program'] },
    ]);
    const { code, stdout, stderr } = await start(text);
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.match(stderr, /^pvecri: container second: .*no\/such\/program/m);
    await nothingLeft();

    const kept = await start(text, '--keep-failed');
    assert.equal(kept.code, 1);
    assert.match(kept.stderr, /the pod is left as it is/);
    assert.equal(((await json('ps', '-a')) as unknown[]).length, 2);
    assert.equal((await run(['rm', '-f', 'broken'])).code, 0);
    await nothingLeft();
  });

  it('leaves nothing of a pod whose image is not there', async () => {
    const missing = { name: 'main', image: 'example.org/none:1', imagePullPolicy: 'Never' };
    const { code, stderr } = await start(manifest('imageless', [missing]));
    assert.equal(code, 3);
    assert.match(stderr, /image "example.org\/none:1" of container main is not present/);
    await nothingLeft();
  });

  it('leaves nothing of a pod when it is interrupted', async () => {
    const stop = new AbortController();
    const starting = run(['run', '-', '--log-dir', agent.logs], {
      stdin: manifest('halt', [
        { name: 'one', ...STAYS },
        { name: 'two', ...STAYS },
      ]),
      signal: stop.signal,
    });
    // As soon as there is a pod: in the middle of its making.
    while (((await json('pods')) as unknown[]).length === 0) await delay(5);
    stop.abort(new Error('SIGINT'));
    assert.equal((await starting).code, 130);
    await nothingLeft();
  });

  it('runs a container as the user that runAsNonRoot asks for, or not at all', async () => {
    const refused = await start(
      manifest('root', [{ name: 'main', securityContext: { runAsNonRoot: true } }]),
    );
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /spec\.containers\[0\]: runAsNonRoot forbids it: the image runs as root/,
    );
    const allowed = await start(
      manifest('user', [
        {
          name: 'main',
          ...shell('id -u; id -g; touch /x 2>/dev/null || echo read-only'),
          securityContext: { runAsNonRoot: true, runAsUser: 1000, readOnlyRootFilesystem: true },
        },
      ]),
      '--wait',
    );
    assert.equal(allowed.code, 0, allowed.stderr);
    assert.equal((await run(['logs', 'user/main'])).stdout, '1000\n1000\nread-only\n');
    assert.equal((await run(['rm', '-f', 'user'])).code, 0);
    await nothingLeft();
  });

  it('names what is not there, for people and for programs', async () => {
    for (const args of [
      ['logs', 'none'],
      ['exec', 'none', '--', 'true'],
      ['inspect', 'none'],
      ['stop', 'none'],
      ['rm', 'none'],
      ['rmi', 'example.org/none:1'],
      ['stats', 'none'],
      ['ps', '--pod', 'none'],
    ]) {
      const { code, stderr } = await run(args);
      assert.equal(code, 3, args.join(' '));
      assert.match(stderr, /^pvecri: no .*none.*; see pvecri /);
    }
    const { stdout } = await run(['inspect', 'none', '--json']);
    const { error } = JSON.parse(stdout) as { error: { kind: string; message: string } };
    assert.equal(error.kind, 'not-found');
  });

  it('refuses a manifest before anything is made', async () => {
    const { code, stderr } = await start(manifest('odd', [{ name: 'main', livenessProbe: {} }]));
    assert.equal(code, 2);
    assert.equal(
      stderr,
      'pvecri: standard input: spec.containers[0].livenessProbe is not supported by pvecri run\n',
    );
    await nothingLeft();
  });

  it('says that the agent is well', async () => {
    const report = await run(['doctor', '--json']);
    const { checks } = JSON.parse(report.stdout) as {
      checks: { check: string; verdict: string }[];
    };
    assert.deepEqual(
      checks.filter(({ check }) => check === 'agent').map(({ verdict }) => verdict),
      ['ok'],
    );
    assert.equal(report.code, 0, report.stdout);
  });

  it('finds what another client left of a pod', async () => {
    const { stdout } = await start(manifest('left', [{ name: 'main', ...STAYS }]));
    const { runtime } = agent.client;
    await runtime.stopPodSandbox({ podSandboxId: stdout.trim() });
    await runtime.removePodSandbox({ podSandboxId: stdout.trim() });
    const { stdout: report } = await run(['doctor']);
    assert.match(report, /warning +leftovers +1 pods of pvecri run are gone/);
    // Mended as it says.
    for (const folder of [join(agent.root, 'run-pods'), agent.logs]) {
      for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
    }
    rmdirSync(join(agent.root, 'run-pods'));
    assert.doesNotMatch((await run(['doctor'])).stdout, /leftovers/);
  });
});
