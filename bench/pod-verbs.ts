/** Start of a pod, a command in it, and its end. */
import { figureOf, timed, type Part } from './figure.js';
import { interleaved, removePod, startPod, withSides } from './sides.js';

/** Short calls are repeated within a round, so that one disturbance does not make the round. */
const EXECS = 5;

export const podVerbs: Part = {
  names: ['pod-start', 'exec-sync', 'stop-remove'],
  about:
    'RunPodSandbox + CreateContainer + StartContainer; ExecSync of /bin/true; StopPodSandbox + RemovePodSandbox',
  measure: (context) =>
    withSides(context, async (sides) => {
      const starts = sides.map((): number[] => []);
      const execs = sides.map((): number[] => []);
      const ends = sides.map((): number[] => []);
      // What is loaded or made at the first use is in no figure.
      await interleaved({ ...context, rounds: 2 }, sides, async (side, _, n) =>
        removePod(side, (await startPod(side, `warm-up-${n}`)).podSandboxId),
      );
      await interleaved(context, sides, async (side, index, n) => {
        const [start = [], exec = [], end = []] = [starts[index], execs[index], ends[index]];
        let pod = { podSandboxId: '', containerId: '' };
        await timed(start, async () => {
          pod = await startPod(side, `round-${n}`);
        });
        const { podSandboxId, containerId } = pod;
        const request = { containerId, cmd: ['/bin/true'], timeout: 10n };
        for (let i = 0; i < EXECS; i += 1) {
          await timed(exec, async () => {
            const { exitCode } = await side.client.runtime.execSync(request);
            if (exitCode !== 0) throw new Error(`true ended with ${exitCode} by ${side.name}`);
          });
        }
        await timed(end, () => removePod(side, podSandboxId));
      });
      return [
        figureOf('pod-start', 'ms', starts),
        figureOf('exec-sync', 'ms', execs),
        figureOf('stop-remove', 'ms', ends),
      ];
    }),
};
