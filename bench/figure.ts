/** One figure of a run: ours beside the peer's, or beside a bound where there is no peer. */

export interface Figure {
  name: string;
  unit: 'ms' | 'MB' | 'count' | '%';
  ours: number;
  /** What the peer took; null where it is not installed. */
  peer?: number | null;
  /** What ours must not pass. */
  bound?: number;
  /** What the ratio should not pass. */
  mark?: number;
}

/** A part of the benchmark: measures some figures together, because they come from the same objects. */
export interface Part {
  /** Names of its figures. */
  names: readonly string[];
  /** What is measured, one line. */
  about: string;
  /** Only when it is asked for by name. */
  onDemand?: true;
  measure(context: BenchContext): Promise<Figure[]>;
}

export interface BenchContext {
  rounds: number;
  /** How long a load goes on. */
  seconds: number;
  /** Whether a figure is asked for, of a part whose figures are not measured all at once. */
  wants: (name: string) => boolean;
  /** Aborted when the user wants an end: checked between steps, so that all is undone in order. */
  signal: AbortSignal;
  say: (text: string) => void;
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low, high] = [sorted[middle - 1 + (sorted.length % 2)], sorted[middle]];
  return ((low ?? Number.NaN) + (high ?? Number.NaN)) / 2;
}

/** Samples in the order in which they were taken, by side. */
export type Samples = readonly number[];

/** The medians of both sides as a figure; `sides[0]` is ours. */
export function figureOf(name: string, unit: Figure['unit'], sides: readonly Samples[]): Figure {
  const [ours = [], peer] = sides;
  return { name, unit, ours: median(ours), peer: peer === undefined ? null : median(peer) };
}

/** `NAME ours=… [peer=… ratio=…] [mark=…] [bound=…] unit=…`: a peer, a bound, or both. */
export function formatLine({ name, unit, ours, peer, bound, mark }: Figure): string {
  const known = (value: number | null | undefined): string =>
    typeof value === 'number' ? round(value) : '-';
  const isCompared = bound === undefined || peer !== undefined;
  return [
    `${name} ours=${round(ours)}`,
    ...(isCompared ? [`peer=${known(peer)} ratio=${known(ratioOf(ours, peer))}`] : []),
    ...(mark === undefined ? [] : [`mark=${mark}`]),
    ...(bound === undefined ? [] : [`bound=${round(bound)}`]),
    `unit=${unit}`,
  ].join(' ');
}

export function formatJson({ name, unit, ours, peer, bound, mark }: Figure): string {
  const isCompared = bound === undefined || peer !== undefined;
  return JSON.stringify({
    name,
    ours,
    ...(isCompared ? { peer: peer ?? null, ratio: ratioOf(ours, peer) } : {}),
    mark,
    bound,
    unit,
  });
}

function ratioOf(ours: number, peer: number | null | undefined): number | null {
  return typeof peer === 'number' ? ours / peer : null;
}

/** Three digits that count. */
function round(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)));
}

export async function timed(samples: number[], work: () => unknown): Promise<void> {
  const start = performance.now();
  await work();
  samples.push(performance.now() - start);
}
