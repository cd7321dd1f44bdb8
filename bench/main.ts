/** Measures pvecri beside its peers and prints one line per figure; asserts nothing, leaves nothing behind. */
import { cpus, loadavg, release } from 'node:os';
import { parseArgs } from 'node:util';
import { loadAddon } from '../src/native/binding.js';
import { Containerd } from './containerd.js';
import { eventLoop } from './event-loop.js';
import { formatJson, formatLine, type BenchContext, type Part } from './figure.js';
import { kubeletLoad } from './kubelet-load.js';
import { lists } from './lists.js';
import { memory } from './memory.js';
import { native } from './native.js';
import { podVerbs } from './pod-verbs.js';
import { pull, pullVariants } from './pull.js';
import { resolve } from './resolve.js';
import { soak } from './soak.js';
import { unpacking } from './unpack.js';

const PARTS: readonly Part[] = [
  podVerbs,
  memory,
  eventLoop,
  lists,
  native,
  unpacking,
  pull,
  pullVariants,
  resolve,
  soak,
  kubeletLoad,
];

const HELP = `Usage: scripts/bench [--rounds N] [--seconds N] [--json] [NAME...]

Measures pvecri beside containerd and runc, and beside the usual programs, on this machine and in
turns, and prints one line per figure: NAME ours=MEDIAN peer=MEDIAN ratio=OURS/PEER unit=UNIT
Without NAME all but those marked * are measured; NAME may be the beginning of several. docs/performance.md says how to read it.

${PARTS.map(({ names, about, onDemand }) => `  ${onDemand ? '* ' : ''}${names.join(', ')}\n      ${about}`).join('\n')}

  --rounds N   rounds of which the median is taken (15)
  --seconds N  how long kubelet-load goes on (600)
  --json       one JSON object per line
  --help       this text
`;

/** A figure is asked for by its name, or with others by how their names begin: `unpack`. */
function isMeant(figure: string, asked: readonly string[]): boolean {
  return asked.some((name) => figure === name || figure.startsWith(`${name}-`));
}

function isChosen(part: Part, names: readonly string[]): boolean {
  if (names.length === 0) return part.onDemand !== true;
  return part.names.some((name) => isMeant(name, names));
}

function machine(): string {
  const peer = Containerd.isInstalled() ? Containerd.versions() : 'no containerd';
  return `Linux ${release()}, ${cpus().length} cpus, load ${loadavg()[0]?.toFixed(1) ?? ''}, node ${process.version}, liblxc ${loadAddon().lxcVersion()}, ${peer}`;
}

async function main(): Promise<void> {
  const { values, positionals: names } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '15' },
      seconds: { type: 'string', default: '600' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`--rounds ${values.rounds}: not a number of rounds`);
  const seconds = Number(values.seconds);
  if (!Number.isInteger(seconds) || seconds < 10)
    throw new Error(`--seconds ${values.seconds}: not a number of seconds from 10`);
  const known = PARTS.flatMap((part) => part.names);
  const unknown = names.filter((name) => !known.some((figure) => isMeant(figure, [name])));
  if (unknown.length > 0)
    throw new Error(`unknown: ${unknown.join(', ')}; there are ${known.join(', ')}`);

  const end = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!end.signal.aborted) say('ending: removes what it has made');
      end.abort(new Error(`ended by ${signal}`));
    });
  }
  const say = (text: string): void => {
    process.stderr.write(`bench: ${text}\n`);
  };
  say(machine());
  const wants = (name: string): boolean => names.length === 0 || isMeant(name, names);
  const context: BenchContext = { rounds, seconds, signal: end.signal, say, wants };
  for (const part of PARTS.filter((each) => isChosen(each, names))) {
    end.signal.throwIfAborted();
    say(part.about);
    for (const figure of await part.measure(context)) {
      if (!wants(figure.name)) continue;
      console.log(values.json ? formatJson(figure) : formatLine(figure));
    }
  }
}

// Waiting for the exit of a process that the addon watches does not keep Node alive.
const alive = setInterval(() => undefined, 1000);
try {
  await main();
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  if (process.env['DEBUG'] !== undefined) console.error(error);
} finally {
  clearInterval(alive);
}
