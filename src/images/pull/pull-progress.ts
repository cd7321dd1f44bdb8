/** How far one pull is: counters that its work writes and anybody may read. */
import type {
  LayerProgress,
  PullReport,
  PullSnapshot,
  PullUnderWay,
} from '../../core/pull-progress.js';

export class LayerCounters {
  readonly digest: string;
  readonly size: number;
  readonly #changed: () => void;
  #downloaded = 0;
  #unpacked = 0;
  #end: 'done' | 'present' | undefined;
  #isStarted = false;
  #isOwn = true;

  constructor(digest: string, size: number, changed: () => void) {
    this.digest = digest;
    this.size = size;
    this.#changed = changed;
  }

  downloaded(bytes: number): void {
    this.#isStarted = true;
    this.#downloaded = bytes;
    this.#changed();
  }

  unpacked(bytes: number): void {
    this.#isStarted = true;
    this.#unpacked = bytes;
    this.#changed();
  }

  /** The blob was kept, or another pull brings it: what is counted is not this pull's. */
  notFetched(): void {
    this.#isOwn = false;
  }

  /** The layer is there; nothing of it came by this pull if nobody counted any. */
  finish(): void {
    this.#end = this.#isStarted ? 'done' : 'present';
    this.#changed();
  }

  get isFetched(): boolean {
    return this.#end === 'done' && this.#isOwn;
  }

  get fetchedBytes(): number {
    return this.#isOwn ? this.#downloaded : 0;
  }

  get state(): LayerProgress['state'] {
    if (this.#end !== undefined) return this.#end;
    if (!this.#isStarted) return 'waiting';
    return this.#downloaded < this.size ? 'downloading' : 'unpacking';
  }

  snapshot(): LayerProgress {
    const { digest, size, state, fetchedBytes } = this;
    return {
      digest,
      size,
      state,
      downloadedBytes: this.#downloaded,
      fetchedBytes,
      // The helper tells its progress in steps, and not the last one.
      unpackedBytes: state === 'done' ? size : this.#unpacked,
    };
  }
}

export class PullProgress implements PullUnderWay {
  readonly reference: string;
  readonly startedAt = BigInt(Date.now()) * 1_000_000n;
  readonly #started = performance.now();
  readonly #layers: LayerCounters[] = [];
  #version = 0;

  constructor(reference: string) {
    this.reference = reference;
  }

  get version(): number {
    return this.#version;
  }

  addLayer(digest: string, size: number): LayerCounters {
    const counters = new LayerCounters(digest, size, () => (this.#version += 1));
    this.#layers.push(counters);
    this.#version += 1;
    return counters;
  }

  snapshot(): PullSnapshot {
    return {
      reference: this.reference,
      startedAt: this.startedAt,
      layers: this.#layers.map((layer) => layer.snapshot()),
    };
  }

  report(outcome: PullReport['outcome']): PullReport {
    const inState = (state: LayerProgress['state']): number =>
      this.#layers.filter((layer) => layer.state === state).length;
    return {
      reference: this.reference,
      durationMs: performance.now() - this.#started,
      fetchedBytes: this.#layers.reduce((sum, layer) => sum + layer.fetchedBytes, 0),
      layersFetched: this.#layers.filter((layer) => layer.isFetched).length,
      layersPresent: inState('present'),
      outcome,
    };
  }
}
