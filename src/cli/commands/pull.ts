/** `pvecri pull`: fetches an image. `pvecri pulls`: what is being fetched. */
import type { Command } from 'commander';
import type { Pull } from '../../admin/client.js';
import { imageDocument, pullDocument } from '../documents.js';
import { EXIT_OK } from '../failure.js';
import { formatAge, formatBytes } from '../human-units.js';
import { examples } from '../option-values.js';
import { formatLeft, formatRate, pullFigures, RateMeter } from '../pull-figures.js';
import { pullImage, type PullCommandOptions } from '../pull.js';
import { repaint } from '../screen.js';
import type { Session } from '../session.js';
import { formatTable } from '../table.js';

export const CREDENTIALS_HELP =
  '\nWithout --creds, credentials are looked for in --authfile, else the file that $REGISTRY_AUTH_FILE\n' +
  'names, else ~/.docker/config.json. A password that --creds does not have is asked for.\n';

export function addPull(program: Command, session: Session): void {
  const pull = program
    .command('pull')
    .description('fetch an image and print its id')
    .argument(
      '<reference>',
      'an image of a registry, or of this node: pve://STORAGE:vztmpl/NAME, oci:FOLDER, oci-archive:FILE, or a path',
    )
    .option('-q, --quiet', 'show no progress');
  addCredentialOptions(pull)
    .addHelpText(
      'after',
      CREDENTIALS_HELP +
        '\nCtrl-C ends the pull, unless somebody else, a kubelet say, wants the same image.\n' +
        examples(
          'pvecri pull registry.example.org/shop/web:1.2',
          'pvecri pull --creds deploy registry.example.org/shop/web:1.2',
          'pvecri pull pve://local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst',
          'pvecri pull oci:/root/busybox-layout',
        ),
    )
    .action((reference: string, options: PullCommandOptions) =>
      session.act(async () => {
        const pulled = await pullImage(session, reference, options);
        const { image, durationMs } = pulled;
        if (session.json) {
          const layers = pulled.pull === undefined ? [] : pullDocument(pulled.pull).layers;
          await session.out.json({ ...imageDocument(image), durationMs, layers });
        } else await session.out.line(image.id);
        return EXIT_OK;
      }),
    );
  program
    .command('pulls')
    .description("show the pulls under way, a kubelet's too")
    .option('-w, --watch', 'again and again, until Ctrl-C')
    .addHelpText('after', examples('pvecri pulls', 'pvecri pulls --watch'))
    .action((options: { watch?: true }) =>
      session.act(() => (options.watch ? watchPulls(session) : listPulls(session))),
    );
}

export function addCredentialOptions(command: Command): Command {
  return command
    .option('--creds <USER[:PASS]>', 'user and password for the registry')
    .option('--authfile <FILE>', "credentials in docker's auth.json format");
}

async function listPulls(session: Session): Promise<number> {
  const admin = await session.admin();
  const { pulls } = await admin.images.listPulls({}, { signal: session.signal });
  if (session.json) await session.out.json(pulls.map(pullDocument));
  else await session.out.write(pullTable(pulls, (pull) => sinceStart(pull)));
  return EXIT_OK;
}

async function watchPulls(session: Session): Promise<number> {
  const admin = await session.admin();
  const show = repaint(session.out);
  const meters = new Map<string, RateMeter>();
  const meterOf = (pull: Pull): RateMeter => {
    const key = keyOf(pull);
    const meter = meters.get(key) ?? new RateMeter();
    meters.set(key, meter);
    meter.add(performance.now(), pullFigures(pull));
    return meter;
  };
  for await (const { pulls } of admin.images.watchPulls({}, { signal: session.signal })) {
    const keys = pulls.map(keyOf);
    for (const key of meters.keys()) if (!keys.includes(key)) meters.delete(key);
    if (session.json) await session.out.line(JSON.stringify(pulls.map(pullDocument)));
    else await show(pullTable(pulls, meterOf));
  }
  return EXIT_OK;
}

function keyOf({ reference, startedAt }: Pull): string {
  return `${startedAt} ${reference}`;
}

/** For one look: the average of all the time. */
function sinceStart(pull: Pull): RateMeter {
  const meter = new RateMeter(Infinity);
  meter.add(Number(pull.startedAt / 1_000_000n), { ...pullFigures(pull), ...NOTHING_DONE });
  meter.add(Date.now(), pullFigures(pull));
  return meter;
}

const NOTHING_DONE = { fetchedBytes: 0, workDone: 0 };
const COLUMNS = ['IMAGE', 'LAYERS', 'FETCHED', 'OF', 'RATE', 'LEFT', 'AGE'];

function pullTable(pulls: readonly Pull[], meterOf: (pull: Pull) => RateMeter): string {
  const rows = pulls.map((pull) => {
    const figures = pullFigures(pull);
    const meter = meterOf(pull);
    return [
      pull.reference,
      `${figures.layersReady}/${figures.layers}`,
      formatBytes(figures.fetchedBytes),
      formatBytes(figures.totalBytes),
      formatRate(meter.bytesPerSecond),
      formatLeft(meter.secondsLeft(figures)),
      formatAge(Date.now() - Number(pull.startedAt / 1_000_000n)),
    ];
  });
  return formatTable(COLUMNS, rows);
}
