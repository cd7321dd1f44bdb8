/** How long the agent's event loop is blocked at a time while pods start side by side. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TestAgent } from '../test/support/agent.js';
import { containerRequest, podRequest } from '../test/support/cri-requests.js';
import { median, type BenchContext, type Part } from './figure.js';
import { PAYLOAD } from './sides.js';

const PODS = 20;
const ROUNDS = 5;
const BOUND_MS = 20;

export const eventLoop: Part = {
  names: ['event-loop'],
  about: `the longest time the agent's event loop is blocked while ${PODS} pods start, median of ${ROUNDS} rounds`,
  async measure(context) {
    const blocked = await withProbedAgent(context, async (agent, longest) => {
      const samples: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        context.signal.throwIfAborted();
        await longest();
        const pods = await Promise.allSettled(
          Array.from({ length: PODS }, (_, n) => startPod(agent, `pod-${round}-${n}`)),
        );
        const { ms, wall } = await longest();
        context.say(`blocked ${ms.toFixed(1)} ms, ${wall.toFixed(1)} with waits for a processor`);
        samples.push(ms);
        await removeAllPods(agent);
        for (const pod of pods) if (pod.status === 'rejected') throw pod.reason;
      }
      return median(samples);
    });
    return [{ name: 'event-loop', unit: 'ms', ours: blocked, bound: BOUND_MS }];
  },
};

interface Blocked {
  /** Without the time in which the thread could have run and had no processor. */
  ms: number;
  wall: number;
}

async function withProbedAgent<T>(
  { say }: BenchContext,
  work: (agent: TestAgent, longest: () => Promise<Blocked>) => Promise<T>,
): Promise<T> {
  const agent = new TestAgent('', 'info');
  const report = join(agent.folder, 'event-loop.json');
  try {
    process.env['NODE_OPTIONS'] = `--import=${resolve('bench/event-loop-probe.js')}`;
    process.env['EVENT_LOOP_REPORT'] = report;
    try {
      await agent.start();
    } finally {
      delete process.env['NODE_OPTIONS'];
      delete process.env['EVENT_LOOP_REPORT'];
    }
    const image = { image: agent.busyboxReference(), annotations: new Map() };
    await agent.client.image.pullImage({
      image: { ...image, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
      auth: undefined,
      sandboxConfig: undefined,
    });
    return await work(agent, () => longestBlock(agent.pid, report));
  } finally {
    await removeAllPods(agent).catch((error: unknown) => {
      say(`cannot remove the pods: ${String(error)}`);
    });
    const left = await agent.close();
    if (left.length > 0) say(`left behind: ${left.join(', ')}`);
  }
}

async function startPod(agent: TestAgent, name: string): Promise<void> {
  const { runtime } = agent.client;
  const request = podRequest(agent, name);
  const { podSandboxId } = await runtime.runPodSandbox(request);
  const { containerId } = await runtime.createContainer({
    ...containerRequest(podSandboxId, name, PAYLOAD),
    sandboxConfig: request.config,
  });
  await runtime.startContainer({ containerId });
}

async function removeAllPods({ client: { runtime } }: TestAgent): Promise<void> {
  const { items } = await runtime.listPodSandbox({ filter: undefined });
  for (const { id: podSandboxId } of items) {
    await runtime.stopPodSandbox({ podSandboxId });
    await runtime.removePodSandbox({ podSandboxId });
  }
}

/** Since the last time it was asked. */
async function longestBlock(pid: number, report: string): Promise<Blocked> {
  process.kill(pid, 'SIGUSR2');
  for (let attempt = 0; attempt < 200; attempt += 1) {
    await sleep(10);
    if (!existsSync(report)) continue;
    const blocked = JSON.parse(readFileSync(report, 'utf8')) as Blocked;
    rmSync(report);
    return blocked;
  }
  throw new Error('the agent does not report its event loop');
}
