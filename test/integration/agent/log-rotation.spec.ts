/** A container's log under rotation, kill -9 of the agent, a deleted folder and a full disk. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '../../../src/cri/gen/container.js';
import { TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';
import { until } from '../../support/processes.js';

describe('log rotation', function () {
  this.timeout(300_000);
  let agent: TestAgent;
  let pod: string;
  /** The pod's log folder. */
  let logs: string;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    const image = {
      image: agent.busyboxReference(),
      annotations: new Map<string, string>(),
      userSpecifiedImage: '',
      runtimeHandler: '',
      imageRef: '',
    };
    await agent.client.image.pullImage({ image, auth: undefined, sandboxConfig: undefined });
    logs = join(agent.logs, 'pod');
    mkdirSync(logs);
    const request = podRequest(agent, 'pod', { logDirectory: logs });
    pod = (await agent.client.runtime.runPodSandbox(request)).podSandboxId;
  });

  after(async () => {
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(await agent.close(), []);
  });

  const start = async (name: string, script: string) => {
    const request = containerRequest(pod, name, shell(script));
    const { containerId } = await agent.client.runtime.createContainer(request);
    await agent.client.runtime.startContainer({ containerId });
    return containerId;
  };
  const state = async (containerId: string) => {
    const { runtime } = agent.client;
    return (await runtime.containerStatus({ containerId, verbose: false })).status?.state;
  };
  const ended = (containerId: string) =>
    until(async () => (await state(containerId)) === ContainerState.CONTAINER_EXITED);
  const reopen = (containerId: string) => agent.client.runtime.reopenContainerLog({ containerId });
  /** Entries of a file without their time stamps. */
  const entries = (name: string): string[] =>
    readFileSync(join(logs, name), 'latin1')
      .split('\n')
      .slice(0, -1)
      .map((line) => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z /, ''));
  const printed = async (containerId: string, path: string) => {
    const exec = { containerId, cmd: ['cat', path], timeout: 10n };
    return (await agent.client.runtime.execSync(exec)).stdout.toString();
  };

  const ROTATIONS = 50;
  const LINES = 100_000;

  it('finds each of 100,000 lines once and in order, over 50 rotations and two kills of the agent', async () => {
    // In bursts, so that there is time to rotate between and within them.
    const script = `n=0; while [ $n -lt 200 ]; do seq $((n*500)) $((n*500+499)); n=$((n+1)); sleep 0.03; done`;
    const id = await start('many', script);
    for (let n = 1; n <= ROTATIONS; n++) {
      const before = Date.now();
      await until(
        () => readFileSync(join(logs, 'many.log')).length > 0 || Date.now() > before + 500,
      );
      // As the kubelet does it (container_log_manager.go, rotateLatestLog).
      renameSync(join(logs, 'many.log'), join(logs, `many.log.${n}`));
      if (n === 15 || n === 30) {
        await agent.stop('SIGKILL');
        await agent.start();
      }
      await reopen(id);
      await sleep(60);
    }
    assert.equal(
      await state(id),
      ContainerState.CONTAINER_RUNNING,
      'it ended before the rotations',
    );
    await ended(id);
    const names = Array.from({ length: ROTATIONS }, (_, n) => `many.log.${n + 1}`);
    const files = [...names, 'many.log'].map(entries);
    assert.ok(files.filter((lines) => lines.length > 0).length > 30, 'too few with lines in them');
    const lines = files.flat();
    assert.equal(lines.length, LINES);
    const wrong = lines.findIndex((line, n) => line !== `stdout F ${n}`);
    assert.equal(wrong, -1, `line ${wrong} is ${lines[wrong] ?? ''}`);
    assert.deepEqual(readdirSync(logs).length, ROTATIONS + 1);
  });

  it('cuts at 16 KiB, keeps every byte, and a last line without newline', async () => {
    const script = `head -c 40000 /dev/zero | tr '\\0' x; printf 'a\\000b\\377\\303(\\r\\t\\n\\n'; printf 'no end' >&2`;
    const id = await start('bytes', script);
    await ended(id);
    const KIB16 = 16 * 1024;
    const lines = entries('bytes.log');
    assert.deepEqual(
      lines.filter((line) => line.startsWith('stdout')),
      [
        `stdout P ${'x'.repeat(KIB16)}`,
        `stdout P ${'x'.repeat(KIB16)}`,
        `stdout F ${'x'.repeat(40000 - 2 * KIB16)}a\0b\xff\xc3(\r\t`,
        'stdout F ',
      ],
    );
    assert.deepEqual(
      lines.filter((line) => line.startsWith('stderr')),
      ['stderr F no end'],
    );
  });

  it('goes on when its folder is deleted, and writes again when that is back', async () => {
    const id = await start(
      'gone',
      'n=0; while :; do echo $n; n=$((n+1)); echo $n > /tmp/n; sleep 0.02; done',
    );
    await until(() => entries('gone.log').length > 3);
    rmSync(logs, { recursive: true });
    await assert.rejects(reopen(id), {
      kind: 'not-found',
      message: /log folder .*pod.* does not exist/,
    });
    const before = Number(await printed(id, '/tmp/n'));
    await until(async () => Number(await printed(id, '/tmp/n')) > before);
    mkdirSync(logs);
    await reopen(id);
    await until(() => entries('gone.log').length > 3);
    const numbers = entries('gone.log').map((line) => Number(line.replace('stdout F ', '')));
    assert.deepEqual(
      numbers,
      numbers.map((_, i) => numbers[0]! + i),
    );
    await agent.client.runtime.removeContainer({ containerId: id });
  });

  it('neither holds up the payload nor the agent when the disk is full, and tells what is missing', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'none', logs]);
    try {
      writeFileSync(join(logs, 'ballast'), Buffer.alloc(64 * 1024));
      const id = await start(
        'full',
        'n=0; while :; do echo number $n; n=$((n+1)); echo $n > /tmp/n; done',
      );
      await until(() => statfsSync(logs).bavail === 0);
      const before = Number(await printed(id, '/tmp/n'));
      await until(async () => Number(await printed(id, '/tmp/n')) > before + 1000);
      assert.ok((await agent.client.runtime.status({ verbose: false })).status);
      await agent.stop('SIGKILL');
      await agent.start();
      rmSync(join(logs, 'ballast'));
      const told =
        /^stderr F pvecri: (\d+) bytes of output are missing here: No space left on device$/;
      await until(() => entries('full.log').some((line) => told.test(line)));
      await agent.client.runtime.stopContainer({ containerId: id, timeout: 0n });
      const lines = entries('full.log');
      const at = lines.findIndex((line) => told.test(line));
      const numberOf = (line = ''): number => Number(/^stdout F number (\d+)$/.exec(line)?.[1]);
      // Whole lines up to the one that was cut, the word of the loss, and whole lines again.
      const first = lines.slice(0, at - 1).map(numberOf);
      assert.deepEqual(
        first,
        first.map((_, n) => n),
      );
      const next = numberOf(lines[at + 1]);
      assert.ok(next > before, `goes on with ${lines[at + 1] ?? 'nothing'}`);
      const missing = Number(told.exec(lines[at] ?? '')?.[1]);
      const least = (next - first.length - 1) * 'number 1\n'.length;
      assert.ok(missing > least, `${missing} bytes for ${next - first.length} lines`);
      await agent.client.runtime.removeContainer({ containerId: id });
    } finally {
      execFileSync('umount', ['-l', logs]);
    }
  });
});
