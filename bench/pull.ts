/** Pull and unpack of an image from a registry on loopback, beside containerd and beside plain programs. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImageSpec } from '../src/cri/gen/image.js';
import type { BuiltImage } from '../test/support/oci-image.js';
import { figureOf, timed, type BenchContext, type Figure, type Part } from './figure.js';
import { floor } from './pull-floor.js';
import {
  buildImage,
  describe,
  makeLayers,
  serveImages,
  type Compression,
  type LayerFile,
} from './pull-image.js';
import { withSides, type Side } from './sides.js';

/** Each takes some seconds on all three sides. */
const MOST_ROUNDS = 5;
const TMPFS = '/dev/shm';
const PEER_MARK = 0.8;
const FLOOR_MARK = 1.5;
const GROWTH_BOUND_MB = 40;
/** Of what stays once the image is gone again. */
const KEPT_BOUND_MB = 10;
/** The allocator and the garbage collector have given back by then what they do. */
const IDLE_MS = 5000;

interface Variant {
  name: string;
  compression: Compression;
  layers: 'eight' | 'one';
  /** Folder of both runtimes. */
  parent: () => string;
}

const USUAL: Variant = {
  name: 'pull',
  compression: 'gzip',
  layers: 'eight',
  parent: () => TMPFS,
};
const VARIANTS: readonly Variant[] = [
  { ...USUAL, name: 'zstd-pull', compression: 'zstd' },
  { ...USUAL, name: 'one-layer-pull', layers: 'one' },
  { ...USUAL, name: 'disk-pull', parent: tmpdir },
];

export const pull: Part = {
  names: figureNames(USUAL),
  about:
    'PullImage of 8 layers of 25 MB from a registry on loopback to a tmpfs; beside plain programs that hash, decompress and write, without a network; growth of the agent meanwhile, and what of it is left after the removal',
  measure: (context) => measureVariants(context, [USUAL]),
};

export const pullVariants: Part = {
  names: VARIANTS.flatMap(figureNames),
  about: `the same by zstd, in one layer, and to the disk of ${tmpdir()}`,
  onDemand: true,
  measure: (context) => measureVariants(context, VARIANTS),
};

function figureNames({ name }: Variant): string[] {
  return [name, `${name}-floor`, `${name}-memory`, `${name}-kept`];
}

async function measureVariants(
  context: BenchContext,
  variants: readonly Variant[],
): Promise<Figure[]> {
  const wanted = variants.filter((variant) => figureNames(variant).some(context.wants));
  const material = mkdtempSync(join(TMPFS, 'pvecri-bench-'));
  try {
    const made = makeLayers(material);
    context.say(describe(made.eight));
    const figures: Figure[] = [];
    for (const variant of wanted) {
      context.signal.throwIfAborted();
      figures.push(...(await measureVariant(context, variant, made[variant.layers], material)));
    }
    return figures;
  } finally {
    rmSync(material, { recursive: true });
  }
}

async function measureVariant(
  context: BenchContext,
  variant: Variant,
  layers: readonly LayerFile[],
  material: string,
): Promise<Figure[]> {
  const image = buildImage(layers, variant.compression);
  return withSides(
    context,
    async (sides, agent) => {
      const folder = join(material, 'serving');
      const registry = await serveImages(folder, agent.netns, { [variant.name]: image });
      try {
        const reference = `${registry.host}/${variant.name}:v1`;
        const target = join(agent.folder, 'floor');
        const samples: number[][] = [...sides, 'floor'].map(() => []);
        const growths: number[] = [];
        const idle = resident(sides[0]?.pid ?? 0, 'VmRSS');
        const steps = [
          ...sides.map((side, index) => async () => {
            const grown = await pullOnce(
              side,
              agent.folder,
              reference,
              image,
              samples[index] ?? [],
            );
            if (side.name === 'pvecri') growths.push(grown);
          }),
          async () => {
            settle(agent.folder);
            await timed(samples.at(-1) ?? [], () => {
              floor(layers, variant.compression, { target, plain: material });
            });
            rmSync(target, { recursive: true });
          },
        ];
        for (let round = 0; round < Math.min(context.rounds, MOST_ROUNDS); round += 1) {
          for (const step of round % 2 === 0 ? steps : steps.toReversed()) {
            context.signal.throwIfAborted();
            await step();
          }
        }
        context.say(
          [...sides.map(({ name }) => name), 'floor']
            .map((name, index) => `${name} ${samples[index]?.map(Math.round).join(' ')}`)
            .join('; '),
        );
        await sleep(IDLE_MS, undefined, { signal: context.signal });
        const kept = resident(sides[0]?.pid ?? 0, 'VmRSS') - idle;
        const { name } = variant;
        const ours = samples[0] ?? [];
        return [
          { ...figureOf(name, 'ms', samples.slice(0, sides.length)), mark: PEER_MARK },
          { ...figureOf(`${name}-floor`, 'ms', [ours, samples.at(-1) ?? []]), mark: FLOOR_MARK },
          {
            name: `${name}-memory`,
            unit: 'MB',
            ours: Math.max(...growths),
            bound: GROWTH_BOUND_MB,
          },
          { name: `${name}-kept`, unit: 'MB', ours: kept, bound: KEPT_BOUND_MB },
        ];
      } finally {
        await registry.stop();
        rmSync(folder, { recursive: true });
      }
    },
    variant.parent(),
  );
}

/** Leaves the store as it was. Returns by how many MB the daemon grew at most. */
async function pullOnce(
  { client, pid }: Side,
  folder: string,
  reference: string,
  image: BuiltImage,
  samples: number[],
): Promise<number> {
  const spec = ImageSpec.fromPartial({ image: reference });
  settle(folder);
  // Resets the peak of the resident set (proc(5)).
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  const before = resident(pid, 'VmRSS');
  let imageRef = '';
  await timed(samples, async () => {
    const answer = await client.image.pullImage({
      image: spec,
      auth: undefined,
      sandboxConfig: undefined,
    });
    imageRef = answer.imageRef;
  });
  const grown = resident(pid, 'VmHWM') - before;
  if (imageRef !== image.id) throw new Error(`${reference} was pulled as ${imageRef}`);
  // Both remove content and layers before they answer.
  await client.image.removeImage({ image: spec });
  return grown;
}

/** So that what is still to be written slows nothing that is measured next. */
function settle(folder: string): void {
  execFileSync('sync', ['-f', folder]);
}

function resident(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024;
}
