/** `pvecri stats`: what containers use, once. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { ListContainerStatsRequest } from '../../cri/gen/index.js';
import type { ContainerStats } from '../../cri/gen/index.js';
import { listInventory } from '../agent-queries.js';
import { figure, statsDocument } from '../documents.js';
import { EXIT_OK } from '../failure.js';
import { formatBytes } from '../human-units.js';
import { findContainer, podName, podOf } from '../lookup.js';
import type { Inventory } from '../lookup.js';
import { examples } from '../option-values.js';
import type { Session } from '../session.js';
import { formatTable, shortId } from '../table.js';

/** The agent tells CPU use between two looks; the first one alone has no figure. */
const SECOND_LOOK_MS = 300;

export function addStats(program: Command, session: Session): void {
  program
    .command('stats')
    .description('show what running containers use')
    .argument('[container...]', 'only these: name, POD/CONTAINER, id or unique prefix of one')
    .addHelpText(
      'after',
      '\nA figure that the host does not tell is shown as -, and is null with --json.\n' +
        examples('pvecri stats', 'pvecri stats web/proxy', 'pvecri stats --json'),
    )
    .action((references: string[]) => session.act(() => showStats(session, references)));
}

async function showStats(session: Session, references: string[]): Promise<number> {
  const cri = await session.cri();
  const inventory = await listInventory(cri, session.signal);
  const wanted = new Set(references.map((reference) => findContainer(inventory, reference).id));
  const ask = async (): Promise<ContainerStats[]> => {
    const { stats } = await cri.runtime.listContainerStats(
      ListContainerStatsRequest.create({ filter: {} }),
      { signal: session.signal },
    );
    return stats.filter(({ attributes }) => wanted.size === 0 || wanted.has(attributes?.id ?? ''));
  };
  let stats = await ask();
  if (stats.some(({ cpu }) => cpu?.usageCoreNanoSeconds && !cpu.usageNanoCores)) {
    await delay(SECOND_LOOK_MS, undefined, { signal: session.signal });
    stats = await ask();
  }
  if (session.json) {
    await session.out.json(stats.map((one) => statsDocument(one, findPodOf(inventory, one))));
  } else {
    await session.out.write(
      formatTable(
        ['CONTAINER', 'POD', 'NAME', 'CPU', 'CPU TIME', 'MEMORY', 'DISK', 'INODES'],
        stats.map((one) => row(inventory, one)),
      ),
    );
  }
  return EXIT_OK;
}

function findPodOf(inventory: Inventory, stats: ContainerStats): ReturnType<typeof podOf> {
  const container = inventory.containers.find(({ id }) => id === stats.attributes?.id);
  return container && podOf(inventory, container);
}

function row(inventory: Inventory, stats: ContainerStats): string[] {
  const { attributes, cpu, memory, writableLayer } = stats;
  const cores = figure(cpu?.usageNanoCores);
  const time = figure(cpu?.usageCoreNanoSeconds);
  const inodes = figure(writableLayer?.inodesUsed);
  return [
    shortId(attributes?.id ?? ''),
    podName(findPodOf(inventory, stats)),
    attributes?.metadata?.name ?? '',
    // Thousandths of a core, as kubectl top has it.
    cores === null ? '-' : `${Math.round(cores / 1e6)}m`,
    time === null ? '-' : `${(time / 1e9).toFixed(2)}s`,
    bytes(figure(memory?.workingSetBytes)),
    bytes(figure(writableLayer?.usedBytes)),
    inodes === null ? '-' : String(inodes),
  ];
}

function bytes(value: number | null): string {
  return value === null ? '-' : formatBytes(value);
}
