/** Disk usage of writable layers: counted in the background, answered from memory. */
import type { NativeAddon, TreeCounter } from '../native/binding.js';

export interface Usage {
  usedBytes: number;
  inodesUsed: number;
  /** When it was counted, nanoseconds since the epoch. */
  timestamp: bigint;
}

interface Entry {
  latest: Usage | undefined;
  count: TreeCounter;
  running: Promise<void> | undefined;
  /** Milliseconds; not counted again before. */
  nextAt: number;
}

const FRESH_MS = 10_000;
/** A count that takes a second may run again after twenty: at most a twentieth of a core's time. */
const REST_FACTOR = 20;
/** How long a first answer may wait for its figures. */
const PATIENCE_MS = 200;

export class UsageCache {
  readonly #addon: Pick<NativeAddon, 'TreeCounter'>;
  readonly #entries = new Map<string, Entry>();
  /** One folder after the other, however many are asked for. */
  #queue: Promise<void> = Promise.resolve();

  constructor(addon: Pick<NativeAddon, 'TreeCounter'>) {
    this.#addon = addon;
  }

  async get(key: string, path: string): Promise<Usage> {
    const entry = this.#entries.get(key) ?? {
      latest: undefined,
      count: new this.#addon.TreeCounter(path),
      running: undefined,
      nextAt: 0,
    };
    this.#entries.set(key, entry);
    if (entry.running === undefined && Date.now() >= entry.nextAt) {
      entry.count = new this.#addon.TreeCounter(path);
      entry.running = this.#start(entry);
    }
    if (entry.latest === undefined) await Promise.race([entry.running, patience()]);
    // Still counting: what is known by now is a lower bound.
    return entry.latest ?? usageOf(entry.count);
  }

  forget(key: string): void {
    this.#entries.delete(key);
  }

  #start(entry: Entry): Promise<void> {
    const counted = this.#queue.then(async () => {
      const startedAt = Date.now();
      try {
        await entry.count.run();
        entry.latest = usageOf(entry.count);
      } finally {
        const endedAt = Date.now();
        entry.nextAt = endedAt + Math.max(FRESH_MS, REST_FACTOR * (endedAt - startedAt));
        entry.running = undefined;
      }
    });
    // A count that fails is its own caller's to hear of; the others go on.
    this.#queue = counted.catch(() => undefined);
    return counted;
  }
}

function usageOf(count: TreeCounter): Usage {
  return {
    usedBytes: count.bytes,
    inodesUsed: count.inodes,
    timestamp: BigInt(Date.now()) * 1_000_000n,
  };
}

function patience(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, PATIENCE_MS).unref();
  });
}
