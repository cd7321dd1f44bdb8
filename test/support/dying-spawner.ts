/** An agent that dies between two of the programs it runs. */
import type { NativeAddon } from '../../src/native/binding.js';
import { ProcessSpawner, type SpawnedProcess } from '../../src/native/process.js';

/** Runs so many programs, and from then on none: what the agent would do afterwards does not happen. */
export class DyingSpawner extends ProcessSpawner {
  #left: number;

  constructor(addon: NativeAddon, programs: number) {
    super(addon);
    this.#left = programs;
  }

  get isDead(): boolean {
    return this.#left < 0;
  }

  override spawn(options: Parameters<ProcessSpawner['spawn']>[0]): Promise<SpawnedProcess> {
    this.#left -= 1;
    if (this.#left < 0) return Promise.reject(new Error('the agent is dead'));
    return super.spawn(options);
  }
}
