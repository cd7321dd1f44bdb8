/**
 * Brings up a pod from its manifest by the calls a kubelet makes. Ctrl-C does not cancel a call that
 * makes something, as the agent would finish it all the same: it takes effect between the calls.
 */
import { readFile } from 'node:fs/promises';
import { availableParallelism, hostname, totalmem } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { wrap } from '../core/errors.js';
import {
  CreateContainerRequest,
  ListPodSandboxRequest,
  RunPodSandboxRequest,
  StartContainerRequest,
} from '../cri/gen/index.js';
import type { Image, PodSandboxConfig } from '../cri/gen/index.js';
import type { CriClient } from '../cri/client.js';
import type { UndoStack } from '../util/undo.js';
import { agentRoot, listInventory, podStatus } from './agent-queries.js';
import { podIps } from './documents.js';
import { isPodReady, removePod } from './ending.js';
import { CommandFailure } from './failure.js';
import { prepareHostPaths } from './host-path.js';
import { hostsFile } from './manifest/dns.js';
import {
  LABEL_POD_UID,
  containerConfig,
  podHostname,
  sandboxConfig,
} from './manifest/pod-configs.js';
import type { PodSetting } from './manifest/pod-configs.js';
import type { ContainerManifest } from './manifest/container-schema.js';
import { everyContainer } from './manifest/schema.js';
import type { PodManifest } from './manifest/schema.js';
import { rootRefusal } from './manifest/security.js';
import { makePodFiles, podFilesDirectory, removePodFiles, writeHostsFile } from './pod-files.js';
import { imageStatus, pullImage } from './pull.js';
import type { Session } from './session.js';
import type { StepTimer } from './steps.js';
import { shortId } from './table.js';
import { waitForEnd } from './wait-for-end.js';

/** The kubelet's limit for this one call. */
const RUN_SANDBOX_MS = 240_000;

export interface RunningPod {
  id: string;
  uid: string;
  ips: string[];
  initContainers: RunningContainer[];
  containers: RunningContainer[];
}

export interface RunningContainer {
  id: string;
  name: string;
  imageId: string;
}

export async function runPod(
  session: Session,
  pod: PodManifest,
  logRoot: string,
  timer: StepTimer,
  undo: UndoStack,
): Promise<RunningPod> {
  const { signal } = session;
  const cri = await session.cri();
  const root = await agentRoot(cri, signal);
  const uid = randomUUID();
  const { name, namespace } = pod.metadata;
  await refuseTwin(session, pod);
  const setting: PodSetting = {
    uid,
    nodeName: hostname(),
    logDirectory: join(logRoot, `${namespace}_${name}_${uid}`),
    filesDirectory: podFilesDirectory(root, uid),
    hostResolvConf: await readText('/etc/resolv.conf'),
    machine: { cpus: availableParallelism(), memoryBytes: BigInt(totalmem()) },
  };
  const images = await collectImages(session, pod, timer);
  await prepareHostPaths(pod.spec);

  undo.add("remove the pod's files", () => removePodFiles(root, uid));
  await makePodFiles(setting.filesDirectory, setting.logDirectory, pod);

  const config = sandboxConfig(pod, setting);
  // By its uid: after a time-out there may be a pod whose id never came back.
  undo.add('remove the pod', () => removePodOfUid(cri, uid));
  const id = await timer.run('pod sandbox', async () => {
    const request = RunPodSandboxRequest.create({ config });
    return (await cri.runtime.runPodSandbox(request, { timeoutMs: RUN_SANDBOX_MS })).podSandboxId;
  });
  signal.throwIfAborted();
  const ips = podIps(await podStatus(cri, id, signal));
  const hosts = { hostname: podHostname(pod, setting.nodeName), ips };
  await writeHostsFile(
    setting.filesDirectory,
    hostsFile(pod.spec, hosts, await readText('/etc/hosts')),
  );
  const running: RunningPod = { id, uid, ips, initContainers: [], containers: [] };
  const begin = async (container: ContainerManifest): Promise<RunningContainer> => {
    const image = images.get(container.image);
    if (image === undefined) throw new Error(`image ${container.image} was not collected`);
    const what = { pod, container, image, setting, running, config };
    const started = await startContainer(session, timer, what);
    return { id: started, name: container.name, imageId: image.id };
  };
  for (const container of pod.spec.initContainers) {
    const started = await begin(container);
    running.initContainers.push(started);
    // With Always it is a sidecar: it stays, and the next one does not wait for it.
    if (container.restartPolicy === 'Always') continue;
    await timer.run(`end of ${container.name}`, () => finishInit(session, id, started));
  }
  for (const container of pod.spec.containers) running.containers.push(await begin(container));
  return running;
}

async function finishInit(
  session: Session,
  podId: string,
  container: RunningContainer,
): Promise<void> {
  const { exitCode, reason } = await waitForEnd(session, podId, container, Infinity);
  if (exitCode === 0) return;
  throw new CommandFailure(
    'failed-precondition',
    `init container ${container.name} ended with exit code ${exitCode} (${reason}); to read its log, run the pod with --keep-failed`,
  );
}

async function startContainer(
  session: Session,
  timer: StepTimer,
  what: {
    pod: PodManifest;
    container: ContainerManifest;
    image: Image;
    setting: PodSetting;
    running: RunningPod;
    config: PodSandboxConfig;
  },
): Promise<string> {
  const { pod, container, image, setting, running } = what;
  const cri = await session.cri();
  const { signal } = session;
  try {
    const id = await timer.run(`create ${container.name}`, async () => {
      const request = CreateContainerRequest.create({
        podSandboxId: running.id,
        config: containerConfig(pod, container, image.id, running.ips, setting),
        sandboxConfig: what.config,
      });
      return (await cri.runtime.createContainer(request)).containerId;
    });
    signal.throwIfAborted();
    await timer.run(`start ${container.name}`, () =>
      cri.runtime.startContainer(StartContainerRequest.create({ containerId: id })),
    );
    signal.throwIfAborted();
    return id;
  } catch (error) {
    throw wrap(error, `container ${container.name}`);
  }
}

/** Each image once, before anything is made: a name that can't be pulled leaves nothing behind. */
async function collectImages(
  session: Session,
  pod: PodManifest,
  timer: StepTimer,
): Promise<Map<string, Image>> {
  const images = new Map<string, Image>();
  for (const { container, at } of everyContainer(pod.spec)) {
    const known = images.get(container.image);
    const image =
      known ?? (await timer.run(`image of ${container.name}`, () => oneImage(session, container)));
    images.set(container.image, image);
    const refusal = rootRefusal(pod.spec, container, {
      uid: image.uid?.value,
      username: image.username,
    });
    if (refusal !== undefined) {
      throw new CommandFailure('failed-precondition', `${at}: runAsNonRoot forbids it: ${refusal}`);
    }
  }
  return images;
}

async function oneImage(session: Session, container: ContainerManifest): Promise<Image> {
  const { image: reference, imagePullPolicy } = container;
  if (imagePullPolicy === 'Always') return (await pullImage(session, reference)).image;
  const present = await imageStatus(session, reference);
  if (present !== undefined) return present;
  if (imagePullPolicy === 'IfNotPresent') return (await pullImage(session, reference)).image;
  throw new CommandFailure(
    'not-found',
    `image ${JSON.stringify(reference)} of container ${container.name} is not present, and imagePullPolicy is Never`,
  );
}

/** As in a cluster, a name stands for one pod; the agent itself would take any number of a name. */
async function refuseTwin(session: Session, pod: PodManifest): Promise<void> {
  const { name, namespace } = pod.metadata;
  const { pods } = await listInventory(await session.cri(), session.signal);
  const twin = pods.find(
    (other) =>
      isPodReady(other) && other.metadata?.name === name && other.metadata.namespace === namespace,
  );
  if (twin === undefined) return;
  throw new CommandFailure(
    'already-exists',
    `pod ${namespace}/${name} runs already (${shortId(twin.id)}): remove it by pvecri rm -f, or give this one another name`,
  );
}

async function removePodOfUid(cri: CriClient, uid: string): Promise<void> {
  const labelSelector = new Map([[LABEL_POD_UID, uid]]);
  const { items } = await cri.runtime.listPodSandbox(
    ListPodSandboxRequest.create({ filter: { labelSelector } }),
  );
  for (const { id } of items) await removePod(cri, id);
}

/** '' where the host has no such file. */
async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return '';
  }
}
