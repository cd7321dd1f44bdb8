/** `pvecri completion`: scripts for shells, and the hidden command that they ask. */
import { Argument } from 'commander';
import type { Command } from 'commander';
import { ListImagesRequest } from '../../cri/gen/index.js';
import { listInventory } from '../agent-queries.js';
import { completionScript, SHELLS } from '../completion/shells.js';
import type { Shell } from '../completion/shells.js';
import { readLine } from '../completion/wanted.js';
import type { Candidate, ObjectKind } from '../completion/wanted.js';
import { containerState } from '../documents.js';
import { EXIT_OK } from '../failure.js';
import { podName, podOf } from '../lookup.js';
import type { Inventory } from '../lookup.js';
import { examples } from '../option-values.js';
import type { Session } from '../session.js';
import { shortId } from '../table.js';

/** Somebody waits for the Tab key: rather nothing than late. */
const PATIENCE_MS = 1500;
/** What a shell takes as one word without quotes, and a terminal without harm. */
const SAFE_WORD = /^[\w.,:@%+=/-]+$/;

export function addCompletion(program: Command, session: Session): void {
  program
    .command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText(
      'after',
      '\nNames of pods, containers and images are asked of the agent as you type.\n' +
        examples(
          'pvecri completion bash > /etc/bash_completion.d/pvecri',
          '. <(pvecri completion bash)',
          'pvecri completion zsh > /usr/local/share/zsh/site-functions/_pvecri',
          'pvecri completion fish > ~/.config/fish/completions/pvecri.fish',
        ),
    )
    .action((shell: Shell) =>
      session.act(async () => {
        await session.out.write(completionScript(shell));
        return EXIT_OK;
      }),
    );
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .action((words: string[]) =>
      session.act(async () => {
        await session.out.write(await complete(program, session, words));
        return EXIT_OK;
      }),
    );
}

/** Never fails: a message in the middle of a command line helps nobody. */
async function complete(program: Command, session: Session, words: string[]): Promise<string> {
  const { wanted, globals } = readLine(program, words);
  switch (wanted.kind) {
    case 'files':
      return ':files\n';
    case 'nothing':
      return '';
    case 'words':
      return lines(wanted.words, words);
    case 'objects':
      session.setOptions(globals);
      return lines(await objects(session, wanted.objects).catch(() => []), words);
  }
}

function lines(candidates: readonly Candidate[], words: readonly string[]): string {
  const start = words.at(-1) ?? '';
  return candidates
    .filter(({ word }) => word.startsWith(start) && SAFE_WORD.test(word))
    .map(({ word, description }) => `${word}\t${description.replace(/[^\x20-\x7e]/g, '?')}\n`)
    .join('');
}

async function objects(session: Session, kind: ObjectKind): Promise<Candidate[]> {
  const signal = AbortSignal.any([session.signal, AbortSignal.timeout(PATIENCE_MS)]);
  const found: Candidate[] = [];
  if (kind !== 'image') {
    const inventory = await listInventory(await session.cri(), signal);
    if (kind !== 'container') found.push(...pods(inventory));
    if (kind !== 'pod') found.push(...containers(inventory));
  }
  if (kind === 'image' || kind === 'any') found.push(...(await images(session, signal)));
  return found;
}

function pods({ pods: list }: Inventory): Candidate[] {
  const names = list.map((pod) => pod.metadata?.name ?? '');
  return list.map((pod, index) => ({
    // The name alone where it is the only one: that is what people type.
    word:
      names.indexOf(names[index] ?? '') === names.lastIndexOf(names[index] ?? '')
        ? podName(pod)
        : `${pod.metadata?.namespace ?? ''}/${podName(pod)}`,
    description: `pod ${shortId(pod.id)}`,
  }));
}

function containers(inventory: Inventory): Candidate[] {
  return inventory.containers.map((container) => ({
    word: `${podName(podOf(inventory, container))}/${container.metadata?.name ?? ''}`,
    description: `container ${shortId(container.id)}, ${containerState(container.state)}`,
  }));
}

async function images(session: Session, signal: AbortSignal): Promise<Candidate[]> {
  const cri = await session.cri();
  const { images: list } = await cri.image.listImages(ListImagesRequest.create({}), { signal });
  return list.flatMap(({ id, repoTags }) =>
    repoTags.map((word) => ({ word, description: `image ${shortId(id)}` })),
  );
}
