/** A pod's verbs and its memory through the CRI socket, beside Debian's containerd and runc: prints, asserts nothing. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CriClient } from '../src/cri/client.js';
import { ListContainersRequest } from '../src/cri/gen/container.js';
import { ListContainerStatsRequest } from '../src/cri/gen/stats.js';
import { loadAddon } from '../src/native/binding.js';
import { TestAgent } from '../test/support/agent.js';
import { containerRequest, IMAGE, podRequest } from '../test/support/cri-requests.js';
import { Containerd, PAUSE_COMMAND } from './containerd.js';
import { commandLines, pssMegabytes } from './processes.js';

const ROUNDS = Number(process.argv[2] ?? 15);
/** Pods that stand by during the rounds: what List answers with and memory is counted of. */
const STANDING = Number(process.argv[3] ?? 10);
const PAYLOAD = ['/bin/sleep', '100000'];
/** Short calls are repeated within a round, so that one disturbance does not make the round. */
const REPEATS = 5;

interface Side {
  client: CriClient;
  cgroupParent: string;
  pid: () => number;
  helpers: () => number[];
}

/** Samples in milliseconds, or figures of memory in MB, by row. */
class Samples {
  readonly #rows = new Map<string, number[]>();

  add(row: string, value: number): void {
    this.#rows.set(row, [...(this.#rows.get(row) ?? []), value]);
  }

  median(row: string): number {
    const sorted = (this.#rows.get(row) ?? []).toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  }

  rows(): string[] {
    return [...this.#rows.keys()];
  }
}

async function timed<T>(samples: Samples, row: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await work();
  samples.add(row, performance.now() - start);
  return result;
}

async function startPod(
  agent: TestAgent,
  side: Side,
  samples: Samples,
  name: string,
): Promise<{ pod: string; container: string }> {
  const { runtime } = side.client;
  const request = podRequest(agent, name, {
    linux: { ...podRequest(agent, name).config?.linux, cgroupParent: side.cgroupParent },
  });
  const start = performance.now();
  const { podSandboxId } = await timed(samples, 'RunPodSandbox', () =>
    runtime.runPodSandbox(request),
  );
  const { containerId } = await timed(samples, 'CreateContainer', () =>
    runtime.createContainer({
      ...containerRequest(podSandboxId, name, PAYLOAD),
      sandboxConfig: request.config,
    }),
  );
  await timed(samples, 'StartContainer', () => runtime.startContainer({ containerId }));
  samples.add('RunPodSandbox + Create + Start', performance.now() - start);
  return { pod: podSandboxId, container: containerId };
}

async function stopPod(side: Side, samples: Samples, podSandboxId: string): Promise<void> {
  await timed(samples, 'StopPodSandbox + RemovePodSandbox', async () => {
    await side.client.runtime.stopPodSandbox({ podSandboxId });
    await side.client.runtime.removePodSandbox({ podSandboxId });
  });
}

async function round(agent: TestAgent, side: Side, samples: Samples, name: string): Promise<void> {
  const { runtime } = side.client;
  const { pod, container } = await startPod(agent, side, samples, name);
  for (let i = 0; i < REPEATS; i += 1) {
    const { exitCode } = await timed(samples, 'ExecSync', () =>
      runtime.execSync({ containerId: container, cmd: ['/bin/true'], timeout: 10n }),
    );
    if (exitCode !== 0) throw new Error(`exec of true in ${name} ended with ${exitCode}`);
  }
  for (let i = 0; i < REPEATS; i += 1) {
    const all = ListContainersRequest.create();
    const { containers } = await timed(samples, `ListContainers of ${STANDING + 1}`, () =>
      runtime.listContainers(all),
    );
    if (containers.length !== STANDING + 1) throw new Error(`${containers.length} are listed`);
    await timed(samples, `ListContainerStats of ${STANDING + 1}`, () =>
      runtime.listContainerStats(ListContainerStatsRequest.create()),
    );
  }
  await stopPod(side, samples, pod);
}

async function measure(agent: TestAgent, sides: Side[]): Promise<Samples[]> {
  const samples = sides.map(() => new Samples());
  const warmUp = new Samples();
  const standing: string[][] = [];
  for (const [i, side] of sides.entries()) {
    samples[i]?.add('memory of the idle daemon, MB', pssMegabytes([side.pid()]));
    const pods: string[] = [];
    for (let pod = 0; pod < STANDING; pod += 1) {
      pods.push((await startPod(agent, side, warmUp, `standing-${pod}`)).pod);
    }
    standing.push(pods);
  }
  for (let n = 0; n < ROUNDS; n += 1) {
    // Each goes first as often as the other: what one leaves to the kernel may slow the next.
    const order = [...sides.entries()];
    for (const [i, side] of n % 2 === 0 ? order : order.reverse()) {
      await round(agent, side, samples[i] ?? warmUp, `round-${n}`);
    }
  }
  // Let what the last round has left go.
  await sleep(1000);
  for (const [i, side] of sides.entries()) {
    samples[i]?.add(`memory of the daemon with ${STANDING} pods, MB`, pssMegabytes([side.pid()]));
    const perPod = pssMegabytes(side.helpers()) / STANDING;
    samples[i]?.add('memory of helpers per pod of one container, MB', perPod);
    for (const pod of standing[i] ?? []) await stopPod(side, warmUp, pod);
  }
  return samples;
}

function report(ours: Samples | undefined, theirs: Samples | undefined): void {
  console.log('| median | pvecri | containerd | ratio |\n| --- | ---: | ---: | ---: |');
  for (const row of ours?.rows() ?? []) {
    const a = ours?.median(row) ?? Number.NaN;
    const b = theirs?.median(row);
    const unit = row.endsWith(', MB') ? '' : ' ms';
    const digits = unit === '' || a < 10 ? 2 : 1;
    console.log(
      `| ${row} | ${a.toFixed(digits)}${unit} | ` +
        (b === undefined ? '- | - |' : `${b.toFixed(digits)}${unit} | ${(a / b).toFixed(2)} |`),
    );
  }
}

function ofPvecri(agent: TestAgent): Side {
  return {
    client: agent.client,
    cgroupParent: '',
    pid: () => agent.pid,
    // Shim and monitor carry the name of the shim, whose cgroups are below the agent's own.
    helpers: () =>
      [...commandLines()]
        .filter(([pid, line]) => line.startsWith('pvecri-shim') && isBelow(pid, agent.cgroup))
        .map(([pid]) => pid),
  };
}

function isBelow(pid: number, cgroup: string): boolean {
  return readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(cgroup);
}

function ofContainerd(containerd: Containerd): Side {
  const pause = PAUSE_COMMAND.join(' ');
  return {
    client: containerd.client,
    cgroupParent: containerd.cgroup,
    pid: () => containerd.pid,
    // The pause process is there for the pod, not for its container.
    helpers: () => [
      ...containerd.shims(),
      ...[...commandLines()]
        .filter(([pid, line]) => line.trim() === pause && isBelow(pid, containerd.cgroup))
        .map(([pid]) => pid),
    ],
  };
}

/** What a run that failed in the middle has left standing. */
async function removeAllPods({ client: { runtime } }: Side): Promise<void> {
  try {
    const { items } = await runtime.listPodSandbox({ filter: undefined });
    for (const { id: podSandboxId } of items) {
      await runtime.stopPodSandbox({ podSandboxId });
      await runtime.removePodSandbox({ podSandboxId });
    }
  } catch (error) {
    console.error('cannot remove the pods:', error);
  }
}

const load = () => loadavg()[0]?.toFixed(1) ?? '';
const agent = new TestAgent('', 'info');
const sides: Side[] = [];
let containerd: Containerd | undefined;
try {
  await agent.start();
  const reference = { image: agent.busyboxReference(), annotations: new Map() };
  await agent.client.image.pullImage({
    image: { ...reference, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
    auth: undefined,
    sandboxConfig: undefined,
  });
  sides.push(ofPvecri(agent));
  if (Containerd.isInstalled()) {
    containerd = new Containerd(agent);
    await containerd.start(IMAGE);
    sides.push(ofContainerd(containerd));
  } else {
    console.log('containerd and runc are not installed: pvecri is measured alone');
  }
  const before = load();
  const [ours, theirs] = await measure(agent, sides);
  console.log(
    `Linux ${release()}, ${cpus().length} cpus, load ${before} to ${load()}, node ${process.version}, ` +
      `liblxc ${loadAddon().lxcVersion()}${containerd ? `, ${Containerd.versions()}` : ''}; ` +
      `${ROUNDS} rounds, ${STANDING} standing pods\n`,
  );
  report(ours, theirs);
} catch (error) {
  process.exitCode = 1;
  console.error(error);
} finally {
  for (const side of sides) await removeAllPods(side);
  await containerd?.close();
  const left = await agent.close();
  if (left.length > 0) console.log('left behind:', left);
}
