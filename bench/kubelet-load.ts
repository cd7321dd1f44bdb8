/** What a kubelet asks of a node with 100 pods, all of it at once and for minutes: answers, load, growth. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import { RuntimeServiceService } from '../src/cri/gen/index.js';
import { TestAgent } from '../test/support/agent.js';
import { containerRequest, podRequest } from '../test/support/cri-requests.js';
import { timed, type BenchContext, type Figure, type Part } from './figure.js';
import { PAYLOAD } from './sides.js';

const PODS = 100;
const LANES = 2;
const LIST_MS = 500;
const ROUND_MS = 10_000;
const EXEC_MS = 20;
/** Probes that are not answered: above it the agent does not keep up, and no more are begun. */
const MAX_PROBES = 200;
const SAMPLE_MS = 1000;
/** The clock of /proc/PID/stat, sysconf(_SC_CLK_TCK) on every Linux of today. */
const TICKS = 100;

export const kubeletLoad: Part = {
  names: [
    'kubelet-load-list-p99',
    'kubelet-load-cpu',
    'kubelet-load-lag-p99',
    'kubelet-load-memory',
  ],
  about: `${PODS} pods, 2 lists and 50 exec probes a second, the status of each container and all figures every 10 s; for --seconds (600)`,
  onDemand: true,
  measure: (context) => withAgent(context, (agent, report) => load(context, agent, report)),
};

type Method = 'listPodSandbox' | 'listContainers' | 'listContainerStats';

async function load(
  { seconds, signal, say }: BenchContext,
  agent: TestAgent,
  report: string,
): Promise<Figure[]> {
  const containers = await startPods({ signal, say }, agent);
  const { runtime, image } = agent.client;
  const { raw, close } = rawCalls(agent.socket);
  // What the starts have left to the kernel and to the collector is not the load's.
  await sleep(5000);
  await raw('listContainers');
  await spanOf(agent.pid, report);
  const end = performance.now() + seconds * 1000;
  const going = (): boolean => performance.now() < end && !signal.aborted;
  const listTimes: number[] = [];
  const resident: number[] = [];
  const probes = {
    begun: 0,
    under: 0,
    passedOver: 0,
    failed: [] as string[],
    times: [] as number[],
  };
  const cpuBefore = cpuSeconds(agent.pid);
  const begun = performance.now();

  const probe = async (): Promise<void> => {
    if (probes.under >= MAX_PROBES) {
      probes.passedOver += 1;
      return;
    }
    probes.under += 1;
    const containerId = containers[probes.begun++ % containers.length] ?? '';
    try {
      await timed(probes.times, () =>
        runtime.execSync({ containerId, cmd: ['/bin/true'], timeout: 10n }),
      );
    } catch (error) {
      probes.failed.push(String(error));
    }
    probes.under -= 1;
  };
  const lists: Method[] = ['listPodSandbox', 'listContainers'];
  const round = async (): Promise<void> => {
    // As the kubelet rotates logs: one after the other.
    for (const containerId of containers)
      await runtime.containerStatus({ containerId, verbose: false });
    await raw('listContainerStats');
    await image.imageFsInfo({});
  };
  await Promise.all([
    every(LIST_MS, going, (n) => timed(listTimes, () => raw(lists[n % 2] ?? 'listContainers'))),
    every(ROUND_MS, going, round),
    every(EXEC_MS, going, () => void probe()),
    every(SAMPLE_MS, going, () => void resident.push(residentMegabytes(agent.pid))),
  ]);
  const cpu = cpuSeconds(agent.pid) - cpuBefore;
  const wall = (performance.now() - begun) / 1000;
  while (probes.under > 0) await sleep(20);
  const { p99, longest } = await spanOf(agent.pid, report);
  close();
  signal.throwIfAborted();
  // The heap finds its size in the first third.
  const third = Math.floor(resident.length / 3);
  const [settled, last] = [resident.slice(third, 2 * third), resident.slice(2 * third)];
  const most = (samples: readonly number[]): number => Math.max(...samples, 0);
  say(
    `${probes.begun} probes, p50 ${percentile(probes.times, 50).toFixed(1)} ms, p99 ${percentile(probes.times, 99).toFixed(1)} ms, ${probes.failed.length} failed, ${probes.passedOver} not begun; ` +
      `${listTimes.length} lists, p50 ${percentile(listTimes, 50).toFixed(1)} ms; longest lag ${longest.toFixed(1)} ms; ` +
      `resident ${most(resident.slice(0, third)).toFixed(1)}, ${most(settled).toFixed(1)}, ${most(last).toFixed(1)} MB by thirds`,
  );
  const [failure] = probes.failed;
  if (failure !== undefined) throw new Error(`${probes.failed.length} probes failed: ${failure}`);
  return [
    { name: 'kubelet-load-list-p99', unit: 'ms', ours: percentile(listTimes, 99), bound: 20 },
    { name: 'kubelet-load-cpu', unit: '%', ours: (100 * cpu) / wall, bound: 15 },
    { name: 'kubelet-load-lag-p99', unit: 'ms', ours: p99, bound: 20 },
    { name: 'kubelet-load-memory', unit: 'MB', ours: most(last) - most(settled), bound: 5 },
  ];
}

/** By the clock: what takes long does not put off what comes after it. */
async function every(
  ms: number,
  going: () => boolean,
  work: (n: number) => unknown,
): Promise<void> {
  const start = performance.now();
  for (let n = 0; going(); n += 1) {
    await work(n);
    await sleep(Math.max(0, start + (n + 1) * ms - performance.now()));
  }
}

async function startPods(
  { signal, say }: Pick<BenchContext, 'signal' | 'say'>,
  agent: TestAgent,
): Promise<string[]> {
  say(`starts ${PODS} pods`);
  const { runtime } = agent.client;
  const containers: string[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let n = next++; n < PODS; n = next++) {
      signal.throwIfAborted();
      const request = podRequest(agent, `pod-${n}`);
      const { podSandboxId } = await runtime.runPodSandbox(request);
      const { containerId } = await runtime.createContainer({
        ...containerRequest(podSandboxId, `pod-${n}`, PAYLOAD),
        sandboxConfig: request.config,
      });
      await runtime.startContainer({ containerId });
      containers.push(containerId);
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: LANES }, lane));
  for (const each of lanes) if (each.status === 'rejected') throw each.reason;
  return containers;
}

async function withAgent<T>(
  { say }: BenchContext,
  work: (agent: TestAgent, report: string) => Promise<T>,
): Promise<T> {
  const agent = new TestAgent('', 'info');
  const report = join(agent.folder, 'load.json');
  agent.env['NODE_OPTIONS'] = `--import=${resolve('bench/load-probe.js')}`;
  agent.env['LOAD_REPORT'] = report;
  try {
    await agent.start();
    const image = { image: agent.busyboxReference(), annotations: new Map() };
    await agent.client.image.pullImage({
      image: { ...image, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
      auth: undefined,
      sandboxConfig: undefined,
    });
    return await work(agent, report);
  } finally {
    await removeAllPods(agent).catch((error: unknown) => {
      say(`cannot remove the pods: ${String(error)}`);
    });
    const left = await agent.close();
    if (left.length > 0) say(`left behind: ${left.join(', ')}`);
  }
}

async function removeAllPods({ client: { runtime } }: TestAgent): Promise<void> {
  const { items } = await runtime.listPodSandbox({ filter: undefined });
  for (const { id: podSandboxId } of items) {
    await runtime.stopPodSandbox({ podSandboxId });
    await runtime.removePodSandbox({ podSandboxId });
  }
}

/** Answers as they come over the wire: decoding is the kubelet's load, not ours. */
function rawCalls(socket: string): {
  raw: (method: Method) => Promise<Buffer>;
  close: () => void;
} {
  const client = new Client(`unix:${socket}`, credentials.createInsecure());
  const raw = (method: Method): Promise<Buffer> =>
    new Promise((done, fail) => {
      client.makeUnaryRequest(
        RuntimeServiceService[method].path,
        () => Buffer.alloc(0),
        (bytes) => bytes,
        {},
        (error, bytes) => {
          if (error !== null || bytes === undefined) fail(error ?? new Error('no answer'));
          else done(bytes);
        },
      );
    });
  return {
    raw,
    close: () => {
      client.close();
    },
  };
}

/** What the probe in the agent counted since it was last asked. */
async function spanOf(pid: number, report: string): Promise<{ p99: number; longest: number }> {
  process.kill(pid, 'SIGUSR2');
  for (let attempt = 0; attempt < 500; attempt += 1) {
    await sleep(10);
    if (!existsSync(report)) continue;
    const span = JSON.parse(readFileSync(report, 'utf8')) as { p99: number; longest: number };
    rmSync(report);
    return span;
  }
  throw new Error('the agent does not report its event loop');
}

/** Of all its threads, and of none of its children. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // After the name, which is in brackets: utime and stime are fields 14 and 15 (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

function residentMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

function percentile(samples: readonly number[], percent: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return (
    sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? Number.NaN
  );
}
