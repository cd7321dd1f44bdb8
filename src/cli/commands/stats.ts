/** `pvecri stats`: what containers use, once or again and again. */
import { setTimeout as delay } from 'node:timers/promises';
import { Option } from 'commander';
import type { Command } from 'commander';
import { ListContainerStatsRequest } from '../../cri/gen/index.js';
import type { ContainerStats } from '../../cri/gen/index.js';
import { listInventory } from '../agent-queries.js';
import { figure, statsDocument } from '../documents.js';
import { EXIT_OK, usage } from '../failure.js';
import { formatBytes } from '../human-units.js';
import { findContainer, podName, podOf } from '../lookup.js';
import type { Inventory } from '../lookup.js';
import { duration, examples } from '../option-values.js';
import { repaint } from '../screen.js';
import type { Session } from '../session.js';
import { formatTable, shortId } from '../table.js';

/** The agent tells CPU use between two looks; the first one alone has no figure. */
const SECOND_LOOK_MS = 300;
const SHORTEST_INTERVAL_MS = 200;
const COLUMNS = ['CONTAINER', 'POD', 'NAME', 'CPU', 'CPU TIME', 'MEMORY', 'DISK', 'INODES'];

interface StatsOptions {
  watch?: true;
  stream: boolean;
  interval: number;
  sort?: 'cpu' | 'memory' | 'name';
}

/** One look at what runs, with the names that belong to it. */
interface Look {
  inventory: Inventory;
  stats: ContainerStats[];
}

export function addStats(program: Command, session: Session): void {
  program
    .command('stats')
    .description('show what running containers use, live on a terminal')
    .argument('[container...]', 'only these: name, POD/CONTAINER, id or unique prefix of one')
    .option('-w, --watch', 'again and again, also when stdout is no terminal')
    .option('--no-stream', 'once, also on a terminal')
    .option('--interval <TIME>', 'time between two looks', duration, 1000)
    .addOption(
      new Option('--sort <KEY>', 'the greediest first, or by name').choices([
        'cpu',
        'memory',
        'name',
      ]),
    )
    .addHelpText(
      'after',
      '\nCtrl-C ends it. A figure that the host does not tell is shown as -, and is null with --json.\n' +
        'With --json --watch each look is a document on a line of its own.\n' +
        examples(
          'pvecri stats',
          'pvecri stats --sort memory',
          'pvecri stats --no-stream web/proxy',
          'pvecri stats --json',
        ),
    )
    .action((references: string[], options: StatsOptions) =>
      session.act(() => showStats(session, references, options)),
    );
}

async function showStats(
  session: Session,
  references: string[],
  options: StatsOptions,
): Promise<number> {
  if (options.watch && !options.stream) {
    throw usage('--watch and --no-stream exclude each other: give one of them');
  }
  if (options.interval < SHORTEST_INTERVAL_MS) {
    throw usage(
      `--interval ${options.interval}ms is too short: expected at least ${SHORTEST_INTERVAL_MS}ms`,
    );
  }
  const inventory = await listInventory(await session.cri(), session.signal);
  const wanted = new Set(references.map((reference) => findContainer(inventory, reference).id));
  const onTerminal = session.out.isTerminal && !session.json;
  return options.watch || (options.stream && onTerminal)
    ? watchStats(session, wanted, options)
    : showOnce(session, wanted, options);
}

async function showOnce(
  session: Session,
  wanted: ReadonlySet<string>,
  options: StatsOptions,
): Promise<number> {
  let look = await takeLook(session, wanted, options);
  if (look.stats.some(({ cpu }) => cpu?.usageCoreNanoSeconds && !cpu.usageNanoCores)) {
    await delay(SECOND_LOOK_MS, undefined, { signal: session.signal });
    look = await takeLook(session, wanted, options);
  }
  if (session.json) await session.out.json(documents(look));
  else await session.out.write(table(look));
  return EXIT_OK;
}

/** Until Ctrl-C, which is how one leaves it, or until all that were asked for have ended. */
async function watchStats(
  session: Session,
  wanted: ReadonlySet<string>,
  options: StatsOptions,
): Promise<number> {
  const paint = repaint(session.out);
  try {
    for (;;) {
      const look = await takeLook(session, wanted, options);
      if (session.json) await session.out.line(JSON.stringify(documents(look)));
      else await paint(table(look));
      if (wanted.size > 0 && look.stats.length === 0) {
        await session.note('none of these containers runs any more');
        return EXIT_OK;
      }
      await delay(options.interval, undefined, { signal: session.signal });
    }
  } catch (error) {
    if (session.signal.aborted) return EXIT_OK;
    throw error;
  }
}

async function takeLook(
  session: Session,
  wanted: ReadonlySet<string>,
  { sort }: StatsOptions,
): Promise<Look> {
  const cri = await session.cri();
  const [inventory, { stats }] = await Promise.all([
    listInventory(cri, session.signal),
    cri.runtime.listContainerStats(ListContainerStatsRequest.create({ filter: {} }), {
      signal: session.signal,
    }),
  ]);
  const chosen = stats.filter(
    ({ attributes }) => wanted.size === 0 || wanted.has(attributes?.id ?? ''),
  );
  const look = { inventory, stats: chosen };
  return sort === undefined ? look : { inventory, stats: chosen.toSorted(order(look, sort)) };
}

function order(
  { inventory }: Look,
  sort: NonNullable<StatsOptions['sort']>,
): (a: ContainerStats, b: ContainerStats) => number {
  const name = (one: ContainerStats): string =>
    `${podName(findPodOf(inventory, one))}/${one.attributes?.metadata?.name ?? ''}`;
  const byName = (a: ContainerStats, b: ContainerStats): number =>
    name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : 0;
  if (sort === 'name') return byName;
  const value = ({ cpu, memory }: ContainerStats): number =>
    (sort === 'cpu' ? figure(cpu?.usageNanoCores) : figure(memory?.workingSetBytes)) ?? -1;
  return (a, b) => value(b) - value(a) || byName(a, b);
}

function documents({ inventory, stats }: Look): object[] {
  return stats.map((one) => statsDocument(one, findPodOf(inventory, one)));
}

function table({ inventory, stats }: Look): string {
  return formatTable(
    COLUMNS,
    stats.map((one) => row(inventory, one)),
  );
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
