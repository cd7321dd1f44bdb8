/** What people want to know of a pull: how much, how fast, how long still. */
import { LayerState } from '../admin/client.js';
import type { Pull, PullLayer } from '../admin/client.js';
import { formatAge, formatBytes } from './human-units.js';
import { shortId } from './table.js';

export interface PullFigures {
  layers: number;
  /** Layers that are there, from before or from this pull. */
  layersReady: number;
  layersPresent: number;
  /** Bytes of the layers that were not there before. */
  totalBytes: number;
  fetchedBytes: number;
  /** Halves of fetching and unpacking: what the time that is left is guessed by. */
  workDone: number;
}

export function pullFigures({ layers }: Pull): PullFigures {
  const missing = layers.filter(({ state }) => state !== LayerState.LAYER_STATE_PRESENT);
  const sum = (of: (layer: PullLayer) => bigint): number =>
    missing.reduce((total, layer) => total + Number(of(layer)), 0);
  const fetchedBytes = sum(({ downloadedBytes }) => downloadedBytes);
  const layersPresent = layers.length - missing.length;
  const done = missing.filter(({ state }) => state === LayerState.LAYER_STATE_DONE).length;
  return {
    layers: layers.length,
    layersReady: layersPresent + done,
    layersPresent,
    totalBytes: sum(({ size }) => size),
    fetchedBytes,
    workDone: (fetchedBytes + sum(({ unpackedBytes }) => unpackedBytes)) / 2,
  };
}

/** Speed over the last seconds, not since the start: that is what one sees change. */
export class RateMeter {
  readonly #windowMs: number;
  readonly #samples: { at: number; fetched: number; work: number }[] = [];

  constructor(windowMs = 5000) {
    this.#windowMs = windowMs;
  }

  /** `now` in milliseconds of any clock that only goes on. */
  add(now: number, { fetchedBytes, workDone }: PullFigures): void {
    this.#samples.push({ at: now, fetched: fetchedBytes, work: workDone });
    while ((this.#samples[1]?.at ?? now) <= now - this.#windowMs) this.#samples.shift();
  }

  /** Bytes fetched in a second; undefined until there is something to tell. */
  get bytesPerSecond(): number | undefined {
    return this.#perSecond(({ fetched }) => fetched);
  }

  /** undefined for no idea. */
  secondsLeft({ totalBytes, workDone }: PullFigures): number | undefined {
    const rate = this.#perSecond(({ work }) => work);
    return rate === undefined || rate <= 0 ? undefined : (totalBytes - workDone) / rate;
  }

  #perSecond(of: (sample: { fetched: number; work: number }) => number): number | undefined {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at - first.at < 200) return undefined;
    return Math.max(0, ((of(last) - of(first)) / (last.at - first.at)) * 1000);
  }
}

export function formatRate(bytesPerSecond: number | undefined): string {
  return bytesPerSecond === undefined ? '-' : `${formatBytes(Math.round(bytesPerSecond))}/s`;
}

/** `12s`; - for no idea, and for a time so long that it is none. */
export function formatLeft(seconds: number | undefined): string {
  return seconds === undefined || seconds > 1_000_000
    ? '-'
    : formatAge(Math.ceil(Math.max(0, seconds)) * 1000);
}

const BAR_WIDTH = 24;

/** What is shown may be a push as well: then bytes go the other way. */
export interface TransferWords {
  /** As in `pulling IMAGE`. */
  title: string;
  moving: string;
}

export const PULL_WORDS: TransferWords = { title: 'pulling', moving: 'downloading' };

/** One line for each layer that is not there, and the total below. */
export function pullLines(
  pull: Pull,
  meter: RateMeter,
  mostLines: number,
  words = PULL_WORDS,
): string[] {
  const figures = pullFigures(pull);
  const shown = layersToShow(pull.layers, mostLines - 1);
  const lines = shown.map((layer) => layerLine(layer, words));
  const hidden = pull.layers.length - shown.length;
  const more = hidden > 0 ? ` (${hidden} not shown)` : '';
  const speed = `${formatRate(meter.bytesPerSecond)}  ${formatLeft(meter.secondsLeft(figures))} left`;
  const name = `${figures.layersReady}/${figures.layers} layers`.padEnd(13);
  lines.push(
    `${name}  ${bar(figures.workDone, figures.totalBytes)}  ${amount(figures.fetchedBytes, figures.totalBytes)}  ${speed}${more}`,
  );
  return lines;
}

/** Those at work first when there is no room for all, in their order all the same. */
function layersToShow(layers: readonly PullLayer[], most: number): PullLayer[] {
  if (layers.length <= most) return [...layers];
  const rank = ({ state }: PullLayer): number => RANKS[state] ?? 3;
  const chosen = new Set([...layers].sort((a, b) => rank(a) - rank(b)).slice(0, Math.max(0, most)));
  return layers.filter((layer) => chosen.has(layer));
}

const RANKS: Readonly<Record<number, number>> = {
  [LayerState.LAYER_STATE_UNPACKING]: 0,
  [LayerState.LAYER_STATE_DOWNLOADING]: 0,
  [LayerState.LAYER_STATE_WAITING]: 1,
  [LayerState.LAYER_STATE_DONE]: 2,
};

function layerLine(layer: PullLayer, words: TransferWords): string {
  const name = shortId(layer.digest);
  const size = Number(layer.size);
  switch (layer.state) {
    case LayerState.LAYER_STATE_PRESENT:
      return `${name}  there already`;
    case LayerState.LAYER_STATE_WAITING:
      return `${name}  ${bar(0, size)}  ${amount(0, size)}  waiting`;
    case LayerState.LAYER_STATE_DOWNLOADING: {
      const done = Number(layer.downloadedBytes);
      return `${name}  ${bar(done, size)}  ${amount(done, size)}  ${words.moving}`;
    }
    case LayerState.LAYER_STATE_UNPACKING:
      return `${name}  ${bar(Number(layer.unpackedBytes), size)}  ${amount(size, size)}  unpacking`;
    default:
      return `${name}  ${bar(size, size)}  ${amount(size, size)}  done`;
  }
}

function bar(done: number, total: number): string {
  const share = total <= 0 ? 1 : Math.min(1, Math.max(0, done / total));
  const full = Math.floor(share * BAR_WIDTH);
  return `[${'='.repeat(full)}${full < BAR_WIDTH ? '>' : ''}${' '.repeat(Math.max(0, BAR_WIDTH - full - 1))}]`;
}

function amount(done: number, total: number): string {
  return `${formatBytes(done)}/${formatBytes(total)}`.padEnd(16);
}
