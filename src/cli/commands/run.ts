/** `pvecri run`: starts a pod from a Kubernetes manifest. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { UndoStack } from '../../util/undo.js';
import { agentRoot } from '../agent-queries.js';
import { removePod } from '../ending.js';
import { EXIT_OK, usage } from '../failure.js';
import { readManifest } from '../manifest/read.js';
import type { PodManifest } from '../manifest/schema.js';
import { duration, examples } from '../option-values.js';
import { removePodFiles } from '../pod-files.js';
import { runPod } from '../run-pod.js';
import type { RunningPod } from '../run-pod.js';
import type { Session } from '../session.js';
import { StepTimer, formatTimeline } from '../steps.js';
import { waitForEnd } from '../wait-for-end.js';
import type { ContainerEnd } from '../wait-for-end.js';

interface RunOptions {
  wait?: true;
  rm?: true;
  timeout?: number;
  logDir: string;
  keepFailed?: true;
  timing?: true;
}

export function addRun(program: Command, session: Session): void {
  program
    .command('run')
    .description('start a pod from a Kubernetes Pod manifest and print its id')
    .argument('<file>', 'manifest with one Pod (v1); - for standard input')
    .option('--wait', 'wait until all containers have ended; exit as the first that failed')
    .option('--rm', 'with --wait: remove the pod when it has ended')
    .option(
      '--timeout <TIME>',
      'with --wait: give up waiting after this time (exit code 124)',
      duration,
    )
    .option('--log-dir <FOLDER>', 'where the pod gets a folder for its logs', '/var/log/pods')
    .option('--keep-failed', 'leave a pod that could not be started as it is, to look at it')
    .option('--timing', 'show how long each step took')
    .addHelpText(
      'after',
      '\nNobody restarts the containers of such a pod, whatever its restartPolicy says. A field that\n' +
        'pvecri run does not support is refused by name. See docs/commands.md for the list.\n' +
        examples(
          'pvecri run web.yaml',
          'pvecri run --wait --rm --timeout 1m job.yaml',
          'kubectl get pod web -o yaml | pvecri run -',
        ),
    )
    .action((file: string, options: RunOptions) =>
      session.act(() => runFile(session, file, options)),
    );
}

async function runFile(session: Session, file: string, options: RunOptions): Promise<number> {
  if (!options.wait && (options.rm || options.timeout !== undefined)) {
    throw usage('--rm and --timeout need --wait');
  }
  if (!options.logDir.startsWith('/')) throw usage('--log-dir must be an absolute path');
  const { pod, notes } = await readFrom(session, file);
  for (const note of notes) await session.note(`pvecri: note: ${note}`);
  const timer = new StepTimer();
  const running = await start(session, pod, options, timer);
  const { name, namespace } = pod.metadata;
  if (!session.json) await session.out.line(running.id);
  const at = running.ips.length > 0 ? ` at ${running.ips.join(', ')}` : ' on the host network';
  await session.note(`pod ${namespace}/${name} is running${at}`);
  if (options.timing) await session.note(formatTimeline(timer.steps).trimEnd());
  const ends = options.wait ? await wait(session, running, options) : undefined;
  if (session.json) {
    await session.out.json({
      id: running.id,
      name,
      namespace,
      uid: running.uid,
      ips: running.ips,
      initContainers: running.initContainers,
      containers: running.containers.map((container) => {
        const end = ends?.find((one) => one.name === container.name);
        return { ...container, exitCode: end?.exitCode ?? null };
      }),
      steps: timer.steps,
    });
  }
  return ends?.find(({ exitCode }) => exitCode !== 0)?.exitCode ?? EXIT_OK;
}

async function readFrom(session: Session, file: string): Promise<ReturnType<typeof readManifest>> {
  if (file === '-') return readManifest(await session.readInput(), 'standard input');
  let text;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw usage(`cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  return readManifest(text, file);
}

async function start(
  session: Session,
  pod: PodManifest,
  options: RunOptions,
  timer: StepTimer,
): Promise<RunningPod> {
  const undo = new UndoStack();
  try {
    return await runPod(session, pod, options.logDir, timer, undo);
  } catch (error) {
    if (options.keepFailed) {
      await session.note(
        'pvecri: the pod is left as it is: see pvecri pods, remove it by pvecri rm -f',
      );
      throw error;
    }
    for (const { what, error: why } of await undo.rollback()) {
      // Straight to the person: the failure itself is told afterwards.
      const text = why instanceof Error ? why.message : String(why);
      await session.err.line(`pvecri: cannot ${what}: ${text}; see pvecri pods`);
    }
    throw error;
  }
}

async function wait(
  session: Session,
  running: RunningPod,
  options: RunOptions,
): Promise<ContainerEnd[]> {
  const deadline = options.timeout === undefined ? Infinity : Date.now() + options.timeout;
  const ends: ContainerEnd[] = [];
  for (const { id, name } of running.containers) {
    const end = await waitForEnd(session, running.id, { id, name }, deadline);
    await session.note(
      `container ${name} ended with exit code ${end.exitCode}${end.reason === '' ? '' : ` (${end.reason})`}`,
    );
    ends.push(end);
  }
  if (options.rm) {
    const cri = await session.cri();
    await removePod(cri, running.id, { signal: session.signal });
    await removePodFiles(await agentRoot(cri, session.signal), running.uid);
  }
  return ends;
}
