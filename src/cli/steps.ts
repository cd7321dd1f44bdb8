/** How long each step of a longer work took, and a picture of it. */
import { formatMilliseconds } from './human-units.js';

export interface Step {
  name: string;
  startMs: number;
  durationMs: number;
}

export class StepTimer {
  readonly #origin = performance.now();
  readonly #steps: Step[] = [];

  get steps(): readonly Step[] {
    return this.#steps;
  }

  /** A step that fails is kept as well: its time is part of the story. */
  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.#steps.push({
        name,
        startMs: start - this.#origin,
        durationMs: performance.now() - start,
      });
    }
  }
}

const BAR_WIDTH = 40;

/** One line a step: name, time, and a bar that begins where the step began. */
export function formatTimeline(steps: readonly Step[]): string {
  const end = Math.max(1, ...steps.map(({ startMs, durationMs }) => startMs + durationMs));
  const nameWidth = Math.max(0, ...steps.map(({ name }) => name.length));
  const lines = steps.map(({ name, startMs, durationMs }) => {
    const from = Math.min(BAR_WIDTH - 1, Math.floor((startMs / end) * BAR_WIDTH));
    const length = Math.max(1, Math.round((durationMs / end) * BAR_WIDTH));
    const bar = ' '.repeat(from) + '█'.repeat(Math.min(length, BAR_WIDTH - from));
    return `${name.padEnd(nameWidth)}  ${formatMilliseconds(durationMs).padStart(8)}  ${bar}`;
  });
  return lines.map((line) => `${line}\n`).join('');
}
