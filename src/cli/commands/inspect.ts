/** `pvecri inspect`: all that the agent tells of one pod, container or image. */
import type { Command } from 'commander';
import {
  ContainerStatusRequest,
  ImageStatusRequest,
  PodSandboxStatusRequest,
} from '../../cri/gen/index.js';
import { listInventory } from '../agent-queries.js';
import { containerState, infoDocument, plain, podState } from '../documents.js';
import { CommandFailure, EXIT_OK } from '../failure.js';
import { isoTime } from '../human-units.js';
import { imageReference } from '../image-lookup.js';
import { findPodOrContainer } from '../lookup.js';
import { examples } from '../option-values.js';
import type { Session } from '../session.js';

export function addInspect(program: Command, session: Session): void {
  program
    .command('inspect')
    .description('print all that is known of a pod, container or image as JSON')
    .argument('<id>', 'pod, container or image: name, POD/CONTAINER, id or unique prefix of one')
    .addHelpText(
      'after',
      examples('pvecri inspect web', 'pvecri inspect web/proxy', 'pvecri inspect busybox:1.36'),
    )
    .action((reference: string) => session.act(() => inspect(session, reference)));
}

async function inspect(session: Session, reference: string): Promise<number> {
  const document =
    (await inspectObject(session, reference)) ?? (await inspectImage(session, reference));
  if (document === undefined) {
    throw new CommandFailure(
      'not-found',
      `no pod, container or image ${JSON.stringify(reference)}; see pvecri pods, pvecri ps -a and pvecri images`,
    );
  }
  await session.out.json(document);
  return EXIT_OK;
}

/** Undefined when nothing has that name; more than one is a failure. */
async function inspectObject(session: Session, reference: string): Promise<object | undefined> {
  const cri = await session.cri();
  const { signal } = session;
  const inventory = await listInventory(cri, signal);
  let found;
  try {
    found = findPodOrContainer(inventory, reference);
  } catch (error) {
    if (error instanceof CommandFailure && error.kind === 'not-found') return undefined;
    throw error;
  }
  if (found.kind === 'pod') {
    const { status, info } = await cri.runtime.podSandboxStatus(
      PodSandboxStatusRequest.create({ podSandboxId: found.pod.id, verbose: true }),
      { signal },
    );
    return {
      kind: 'pod',
      status: status && {
        ...asObject(plain(status)),
        state: podState(status.state),
        createdAt: isoTime(status.createdAt),
      },
      info: infoDocument(info),
    };
  }
  const { status, info } = await cri.runtime.containerStatus(
    ContainerStatusRequest.create({ containerId: found.container.id, verbose: true }),
    { signal },
  );
  return {
    kind: 'container',
    status: status && {
      ...asObject(plain(status)),
      state: containerState(status.state),
      createdAt: isoTime(status.createdAt),
      startedAt: isoTime(status.startedAt),
      finishedAt: isoTime(status.finishedAt),
    },
    info: infoDocument(info),
  };
}

async function inspectImage(session: Session, reference: string): Promise<object | undefined> {
  const cri = await session.cri();
  const { image, info } = await cri.image.imageStatus(
    ImageStatusRequest.create({
      image: { image: await imageReference(session, reference) },
      verbose: true,
    }),
    { signal: session.signal },
  );
  return image && { kind: 'image', status: plain(image), info: infoDocument(info) };
}

function asObject(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}
