/** The agent as a service: pods are unharmed by what systemd does to it, and the kernel keeps their limits. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '../../src/cri/gen/container.js';
import { until } from '../support/processes.js';
import { patient } from '../support/patience.js';
import { Service, systemctl } from './service.js';

describe('the service under systemd', function () {
  this.timeout(120_000);
  let service: Service;
  let pod: string;
  let id: string;

  before(async () => {
    // Short for a test, long enough for an emulated machine to send its signs of life.
    service = new Service(`[Service]\nWatchdogSec=${Math.ceil(patient(4_000) / 1000)}\n`);
    await service.pull();
    const script = 'i=0; while :; do echo line $i; i=$((i + 1)); usleep 100000; done';
    [pod, id] = await service.run('counter', script);
  });

  after(async () => {
    await service.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(service.close(), []);
  });

  const log = () =>
    readFileSync(join(service.logs, 'counter.log'), 'utf8').split('\n').slice(0, -1);
  /** Another process serves, the container has the same ones, and its log goes on line by line. */
  const isUnharmedBy = async (what: () => void | Promise<void>): Promise<void> => {
    const before = { pids: service.pids(pod, id), main: service.mainPid };
    const start = (await service.status(id)).startedAt;
    await what();
    service.disconnect();
    await until(
      () =>
        ![0, before.main].includes(service.mainPid) &&
        systemctl('show', '--property=ActiveState', '--value', 'pvecri.service') === 'active',
    );
    // The loop's usleep is another process each time: the shell is the one that stays.
    assert.equal(service.pids(pod, id).split('\n')[0], before.pids.split('\n')[0]);
    const lines = log().length;
    await until(() => log().length > lines + 3);
    log().forEach((line, i) => {
      assert.match(line, new RegExp(` stdout F line ${i}$`));
    });
    assert.equal((await service.status(id)).startedAt, start);
    const { exitCode, stdout } = await service.client.runtime.execSync({
      containerId: id,
      cmd: ['echo', 'here'],
      timeout: 0n,
    });
    assert.deepEqual([exitCode, Buffer.from(stdout).toString()], [0, 'here\n']);
  };

  it('goes on through a restart', () =>
    isUnharmedBy(() => {
      systemctl('restart', 'pvecri.service');
    }));

  it('goes on when the agent is killed', () =>
    isUnharmedBy(() => {
      process.kill(service.mainPid, 'SIGKILL');
    }));

  it('goes on when the agent hangs, which the watchdog ends', () =>
    isUnharmedBy(async () => {
      const restarts = Number(systemctl('show', '--property=NRestarts', '--value', 'pvecri'));
      process.kill(service.mainPid, 'SIGSTOP');
      await until(
        () => Number(systemctl('show', '--property=NRestarts', '--value', 'pvecri')) > restarts,
      );
    }));

  it('goes on while the service is stopped, and is served again when the socket is asked', () =>
    isUnharmedBy(async () => {
      systemctl('stop', 'pvecri.service');
      assert.equal(service.mainPid, 0);
      const lines = log().length;
      await until(() => log().length > lines + 3);
      service.disconnect();
      await service.client.runtime.version({ version: 'v1' });
    }));

  it('reloads its configuration without another process', async () => {
    const before = service.mainPid;
    systemctl('reload', 'pvecri.service');
    assert.equal((await service.client.runtime.version({ version: 'v1' })).runtimeName, 'pvecri');
    assert.equal(service.mainPid, before);
  });

  const remove = (podSandboxId: string) =>
    service.client.runtime.removePodSandbox({ podSandboxId });

  it('holds the limit of the CPU: a fifth of one is a fifth of one', async () => {
    const [pod, id] = await service.run('busy', 'while :; do :; done', {
      cpuPeriod: 100_000n,
      cpuQuota: 20_000n,
    });
    const used = () => {
      const stat = readFileSync(join(service.cgroupOf(pod, id), 'cpu.stat'), 'utf8');
      return Number(/usage_usec (\d+)/.exec(stat)?.[1]);
    };
    const [before, start] = [used(), performance.now()];
    await sleep(5000);
    const share = (used() - before) / 1000 / (performance.now() - start);
    // A loaded host may give less than the limit, never more but for one period.
    assert.ok(share > 0.05 && share < 0.23, `used ${share.toFixed(3)} of a CPU`);
    await remove(pod);
  });

  it('ends what passes its limit of memory, as OOMKilled', async () => {
    const hog = 'x=$(head -c 200000000 /dev/zero | tr "\\0" x); echo end; sleep 1000';
    const [pod, id] = await service.run('hog', hog, { memoryLimitInBytes: 32n << 20n });
    const status = await service.ended(id);
    assert.deepEqual([status.reason, status.exitCode], ['OOMKilled', 137]);
    await remove(pod);
  });

  it('leaves alone what keeps within its limit of memory', async () => {
    const [pod, id] = await service.run('thrifty', 'cat /sys/fs/cgroup/memory.max; sleep 1000', {
      memoryLimitInBytes: 32n << 20n,
    });
    const { stats } = await service.client.runtime.containerStats({ containerId: id });
    const used = Number(stats?.memory?.workingSetBytes?.value);
    assert.ok(used > 0 && used < 32 << 20, `uses ${used}`);
    assert.equal((await service.status(id)).state, ContainerState.CONTAINER_RUNNING);
    await remove(pod);
  });

  it('holds the limit of processes', async () => {
    const script = 'i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i + 1)); done; sleep 1000';
    const [pod, id] = await service.run('forks', script, {
      unified: new Map([['pids.max', '10']]),
    });
    const status = await service.ended(id);
    assert.notEqual(status.exitCode, 0);
    const log = readFileSync(join(service.logs, 'forks.log'), 'utf8');
    assert.match(log, /can't fork: Resource temporarily unavailable/);
    await remove(pod);
  });
});
