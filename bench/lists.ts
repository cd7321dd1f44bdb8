/** ListContainerStats of 100 running containers and ListContainers of 1,000. */
import { ListContainersResponse } from '../src/cri/gen/container.js';
import { NamespaceMode } from '../src/cri/gen/namespace.js';
import { ListContainerStatsResponse } from '../src/cri/gen/stats.js';
import { figureOf, timed, type BenchContext, type Figure, type Part } from './figure.js';
import { interleaved, removePod, withSides, type Side } from './sides.js';

const PODS = 10;
const RUNNING = 100;
const LISTED = 1000;
/** Containers in the making at a time; two processors have no use for more. */
const LANES = 2;

type Method = Parameters<Side['raw']>[0];

export const lists: Part = {
  names: ['stats-100', 'list-1000'],
  about: `ListContainerStats of ${RUNNING} running containers in ${PODS} pods; ListContainers of ${LISTED} that do not run`,
  measure: (context) =>
    withSides(context, async (sides) => {
      const started = await fill(context, sides, RUNNING, async (side, containerId) => {
        await side.client.runtime.startContainer({ containerId });
      });
      const stats = await answers(context, sides, 'stats-100', 'listContainerStats', (bytes) => {
        return ListContainerStatsResponse.decode(bytes).stats.length === RUNNING;
      });
      for (const [index, side] of sides.entries()) {
        for (const id of started[index] ?? []) await removePod(side, id);
      }
      // A container that was created has processes here and none by containerd, which makes them at
      // the start: ours are stopped, so that on both sides there is nothing but the record.
      await fill(context, sides, LISTED, async (side, containerId) => {
        if (side.name === 'pvecri')
          await side.client.runtime.stopContainer({ containerId, timeout: 0n });
      });
      const list = await answers(context, sides, 'list-1000', 'listContainers', (bytes) => {
        return ListContainersResponse.decode(bytes).containers.length === LISTED;
      });
      return [stats, list];
    }),
};

/** Spreads so many containers over the pods of each side; answers the pods' ids. */
async function fill(
  { signal, say }: BenchContext,
  sides: readonly Side[],
  count: number,
  finish: (side: Side, containerId: string) => Promise<void>,
): Promise<string[][]> {
  const pods: string[][] = [];
  for (const side of sides) {
    say(`${side.name}: makes ${count} containers`);
    const ids: string[] = [];
    pods.push(ids);
    for (let n = 0; n < PODS; n += 1) ids.push(await side.run(`pod-${n}`, NamespaceMode.NODE));
    let next = 0;
    const lane = async (): Promise<void> => {
      for (let n = next++; n < count; n = next++) {
        signal.throwIfAborted();
        const pod = n % PODS;
        const names = [`container-${n}`, `pod-${pod}`] as const;
        await finish(side, await side.create(ids[pod] ?? '', ...names, NamespaceMode.NODE));
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: LANES }, lane));
    for (const each of lanes) if (each.status === 'rejected') throw each.reason;
  }
  return pods;
}

async function answers(
  context: BenchContext,
  sides: readonly Side[],
  name: string,
  method: Method,
  isComplete: (bytes: Buffer) => boolean,
): Promise<Figure> {
  for (const side of sides) {
    if (!isComplete(await side.raw(method)))
      throw new Error(`${side.name}: ${method} is not complete`);
  }
  const samples: number[][] = sides.map(() => []);
  await interleaved(context, sides, async (side, index) => {
    for (let i = 0; i < 3; i += 1) await timed(samples[index] ?? [], () => side.raw(method));
  });
  return figureOf(name, 'ms', samples);
}
