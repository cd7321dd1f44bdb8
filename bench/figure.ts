/** One figure of a run: ours beside the peer's, or beside a bound where there is no peer. */

export interface Figure {
  name: string;
  unit: 'ms' | 'MB' | 'count';
  ours: number;
  /** What the peer took; null where it is not installed. */
  peer?: number | null;
  /** What ours must not pass. */
  bound?: number;
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

/** `NAME ours=… peer=… ratio=… unit=…`, or `bound=…` instead of the peer's two. */
export function formatLine({ name, unit, ours, peer, bound }: Figure): string {
  const beside =
    bound === undefined
      ? `peer=${typeof peer === 'number' ? round(peer) : '-'} ratio=${typeof peer === 'number' ? round(ours / peer) : '-'}`
      : `bound=${round(bound)}`;
  return `${name} ours=${round(ours)} ${beside} unit=${unit}`;
}

export function formatJson({ name, unit, ours, peer, bound }: Figure): string {
  return JSON.stringify(
    bound === undefined
      ? {
          name,
          ours,
          peer: peer ?? null,
          ratio: typeof peer === 'number' ? ours / peer : null,
          unit,
        }
      : { name, ours, bound, unit },
  );
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
