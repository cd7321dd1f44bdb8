/** What an image costs that is here already: the questions that the kubelet asks before each container. */
import { ImageSpec } from '../src/cri/gen/image.js';
import { busyboxImage } from '../test/support/busybox-image.js';
import { figureOf, timed, type Part } from './figure.js';
import { serveImages } from './pull-image.js';
import { interleaved, withSides, type Side } from './sides.js';

const CALLS = 50;
const BOUND_MS = 1;

export const resolve: Part = {
  names: ['resolve-status', 'resolve-id', 'resolve-digest', 'resolve-tag'],
  about: `of an image that is here, mean of ${CALLS} calls one after the other: ImageStatus by tag; by id; PullImage by digest; PullImage by tag, which asks the registry`,
  measure: (context) =>
    withSides(context, async (sides, agent) => {
      const image = busyboxImage();
      const registry = await serveImages(`${agent.folder}/serving`, agent.netns, {
        busybox: image,
      });
      try {
        const name = `${registry.host}/busybox`;
        const pulled = async (side: Side, reference: string): Promise<void> => {
          await side.client.image.pullImage({
            image: ImageSpec.fromPartial({ image: reference }),
            auth: undefined,
            sandboxConfig: undefined,
          });
        };
        const present = async (side: Side, reference: string): Promise<void> => {
          const spec = ImageSpec.fromPartial({ image: reference });
          const { image: found } = await side.client.image.imageStatus({
            image: spec,
            verbose: false,
          });
          if (!found) throw new Error(`${side.name} does not know ${reference}`);
        };
        for (const side of sides) await pulled(side, `${name}:v1`);
        const asks: Record<string, (side: Side) => Promise<void>> = {
          'resolve-status': (side) => present(side, `${name}:v1`),
          'resolve-id': (side) => present(side, image.id),
          'resolve-digest': (side) => pulled(side, `${name}@${image.manifest.digest}`),
          'resolve-tag': (side) => pulled(side, `${name}:v1`),
        };
        const figures = [];
        for (const [figure, ask] of Object.entries(asks)) {
          const samples: number[][] = sides.map(() => []);
          await interleaved(context, sides, async (side, index) => {
            const whole: number[] = [];
            await timed(whole, async () => {
              for (let n = 0; n < CALLS; n += 1) await ask(side);
            });
            for (const ms of whole) samples[index]?.push(ms / CALLS);
          });
          figures.push({ ...figureOf(figure, 'ms', samples), bound: BOUND_MS });
        }
        return figures;
      } finally {
        await registry.stop();
      }
    }),
};
