/** A pull on the screen: bars on a terminal, now and then a line elsewhere. */
import type { Pull } from '../admin/client.js';
import { formatBytes } from './human-units.js';
import { LiveLines } from './live-lines.js';
import type { Output } from './output.js';
import {
  formatLeft,
  formatRate,
  PULL_WORDS,
  pullFigures,
  pullLines,
  RateMeter,
  type TransferWords,
} from './pull-figures.js';
import { printable } from './table.js';

export interface PullDisplay {
  update(pull: Pull): Promise<void>;
  /** Nothing of it stays on a terminal. */
  end(): Promise<void>;
}

export const NO_DISPLAY: PullDisplay = {
  update: () => Promise.resolve(),
  end: () => Promise.resolve(),
};

export function pullDisplay(out: Output, reference: string, words = PULL_WORDS): PullDisplay {
  return out.isTerminal ? new Bars(out, reference, words) : new Lines(out, reference, words);
}

/** Speed and time go on to change when nothing arrives. */
const REDRAW_MS = 250;

class Bars implements PullDisplay {
  readonly #lines: LiveLines;
  readonly #out: Output;
  readonly #title: string;
  readonly #words: TransferWords;
  readonly #meter = new RateMeter();
  readonly #started = performance.now();
  readonly #timer: NodeJS.Timeout;
  #pull: Pull | undefined;
  #drawing: Promise<void> | undefined;

  constructor(out: Output, reference: string, words: TransferWords) {
    this.#out = out;
    this.#words = words;
    this.#lines = new LiveLines(out);
    this.#title = `${words.title} ${printable(reference)}`;
    this.#timer = setInterval(() => void this.#draw(), REDRAW_MS);
  }

  async update(pull: Pull): Promise<void> {
    this.#pull = pull;
    await this.#draw();
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.#drawing;
    await this.#lines.wipe();
  }

  /** One at a time: a slow terminal is not written to faster than it takes. */
  #draw(): Promise<void> {
    this.#drawing ??= this.#lines.show(this.#text()).finally(() => (this.#drawing = undefined));
    return this.#drawing;
  }

  #text(): string[] {
    const now = performance.now();
    const title = `${this.#title} … ${((now - this.#started) / 1000).toFixed(1)} s`;
    const pull = this.#pull;
    if (pull === undefined || pull.layers.length === 0) return [title];
    this.#meter.add(now, pullFigures(pull));
    return [title, ...pullLines(pull, this.#meter, this.#out.rows - 2, this.#words)];
  }
}

/** A pull that takes no longer has no line. */
const FIRST_LINE_MS = 3000;
const NEXT_LINE_MS = 10_000;

class Lines implements PullDisplay {
  readonly #out: Output;
  readonly #title: string;
  readonly #meter = new RateMeter(NEXT_LINE_MS);
  #next = performance.now() + FIRST_LINE_MS;

  constructor(out: Output, reference: string, words: TransferWords) {
    this.#out = out;
    this.#title = `${words.title} ${printable(reference)}`;
  }

  async update(pull: Pull): Promise<void> {
    const figures = pullFigures(pull);
    const now = performance.now();
    this.#meter.add(now, figures);
    if (now < this.#next || figures.layers === 0) return;
    this.#next = now + NEXT_LINE_MS;
    const { layers, layersReady, fetchedBytes, totalBytes } = figures;
    await this.#out.line(
      `${this.#title}: ${layersReady} of ${layers} layers, ${formatBytes(fetchedBytes)} of ${formatBytes(totalBytes)}, ` +
        `${formatRate(this.#meter.bytesPerSecond)}, ${formatLeft(this.#meter.secondsLeft(figures))} left`,
    );
  }

  end(): Promise<void> {
    return Promise.resolve();
  }
}
