/** PSS of the daemons, idle, and of the processes they keep for each pod. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Part } from './figure.js';
import { pssMegabytes } from './processes.js';
import { startPod, withSides } from './sides.js';

const PODS = 10;

export const memory: Part = {
  names: ['agent-idle', 'memory-per-pod'],
  about: `memory (PSS) of the idle daemon; of the helper processes of a one-container pod, of ${PODS}`,
  measure: (context) =>
    withSides(context, async (sides) => {
      const perPod: number[] = [];
      for (const side of sides) {
        for (let n = 0; n < PODS; n += 1) {
          context.signal.throwIfAborted();
          await startPod(side, `pod-${n}`);
        }
        // Programs that make a container ready end a little later.
        await sleep(1000);
        perPod.push(pssMegabytes(side.helpers()) / PODS);
      }
      const [ours, peer] = sides;
      return [
        {
          name: 'agent-idle',
          unit: 'MB',
          ours: ours?.idleMegabytes ?? Number.NaN,
          peer: peer?.idleMegabytes ?? null,
        },
        {
          name: 'memory-per-pod',
          unit: 'MB',
          ours: perPod[0] ?? Number.NaN,
          peer: perPod[1] ?? null,
        },
      ];
    }),
};
