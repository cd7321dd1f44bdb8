/** Pulls on the admin service: one with its progress, and all that are under way. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError } from '../core/errors.js';
import type { RegistryAuth } from '../core/ports/images.js';
import type { LayerProgress, PullSnapshot, PullUnderWay } from '../core/pull-progress.js';
import type { RuntimeContext } from '../runtime/context.js';
import type { Caller } from './event-stream.js';
import {
  LayerState,
  type ListPullsResponse,
  type Pull,
  type PullImageEvent,
  type PullImageRequest,
  type RegistryAuth as WireAuth,
} from './gen/admin.js';

/** Whoever looks, looks so often: a pull itself only counts. */
const LOOK_MS = 100;

export async function pullImage(
  context: RuntimeContext,
  { reference, auth }: PullImageRequest,
  { gone, send }: Caller<PullImageEvent>,
): Promise<void> {
  if (reference === '')
    throw new RuntimeError('invalid-argument', 'PullImage: reference is empty: name an image');
  const { id } = await withProgress(
    (onStart) =>
      context.images.pull(reference, toAuth(auth), { signal: gone, onStart, anyFile: true }),
    (value) => send({ event: { $case: 'progress', value } }),
  );
  await send({ event: { $case: 'imageId', value: id } });
}

/** Tells of whatever pull `work` has started last, until it ends. */
export async function withProgress<T>(
  work: (onStart: (pull: PullUnderWay) => void) => Promise<T>,
  send: (pull: Pull) => Promise<void>,
): Promise<T> {
  let pull: PullUnderWay | undefined;
  let told: { pull: PullUnderWay; version: number } | undefined;
  const tell = async (): Promise<void> => {
    if (pull === undefined || (told?.pull === pull && told.version === pull.version)) return;
    told = { pull, version: pull.version };
    await send(toPull(pull.snapshot()));
  };
  const working = work((started) => (pull = started));
  const over = new AbortController();
  const watching = (async () => {
    while (!over.signal.aborted) {
      await tell();
      await pause(over.signal);
    }
  })();
  watching.catch(() => undefined);
  try {
    const result = await working;
    over.abort();
    await watching;
    await tell();
    return result;
  } finally {
    over.abort();
    await watching.catch(() => undefined);
  }
}

export function listPulls(context: RuntimeContext): ListPullsResponse {
  return { pulls: context.images.pullsUnderWay().map((pull) => toPull(pull.snapshot())) };
}

export async function watchPulls(
  context: RuntimeContext,
  { gone, send }: Caller<ListPullsResponse>,
): Promise<void> {
  let told: { pull: PullUnderWay; version: number }[] | undefined;
  while (!gone.aborted) {
    const now = context.images.pullsUnderWay().map((pull) => ({ pull, version: pull.version }));
    const isSame =
      told?.length === now.length &&
      told.every(({ pull, version }, at) => pull === now[at]?.pull && version === now[at].version);
    if (!isSame) await send(listPulls(context));
    told = now;
    await pause(gone);
  }
  gone.throwIfAborted();
}

export async function pause(signal: AbortSignal): Promise<void> {
  await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
}

/** null for a message that says nothing. */
export function toAuth(auth: WireAuth | undefined): RegistryAuth | null {
  return auth === undefined || Object.values(auth).every((value) => value === '') ? null : auth;
}

function toPull({ reference, startedAt, layers }: PullSnapshot): Pull {
  return { reference, startedAt, layers: layers.map(toLayer) };
}

function toLayer(layer: LayerProgress): Pull['layers'][number] {
  return {
    digest: layer.digest,
    size: BigInt(layer.size),
    downloadedBytes: BigInt(layer.downloadedBytes),
    unpackedBytes: BigInt(layer.unpackedBytes),
    state: STATES[layer.state],
  };
}

const STATES: Readonly<Record<LayerProgress['state'], LayerState>> = {
  waiting: LayerState.LAYER_STATE_WAITING,
  downloading: LayerState.LAYER_STATE_DOWNLOADING,
  unpacking: LayerState.LAYER_STATE_UNPACKING,
  done: LayerState.LAYER_STATE_DONE,
  present: LayerState.LAYER_STATE_PRESENT,
};
