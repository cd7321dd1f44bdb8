/** The native executables the engine starts, each read once into a sealed memory file. */
import { closeSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { wrap } from '../core/errors.js';
import type { NativeAddon } from '../native/binding.js';

/**
 * A payload can reach the program it was started by through /proc/PID/exe; a sealed memory file can't
 * be written through that, as a file on the host could (CVE-2019-5736).
 */
export class NativePrograms {
  readonly shim: string;
  readonly #addon: NativeAddon;
  readonly #folder: string;
  readonly #files = new Map<string, number>();

  constructor(addon: NativeAddon, libexecDir: string) {
    this.#addon = addon;
    this.#folder = libexecDir;
    this.shim = join(libexecDir, 'pvecri-shim');
  }

  /** A descriptor that stays this object's own. */
  sealed(name: 'pvecri-init' | 'pvecri-exec'): number {
    const known = this.#files.get(name);
    if (known !== undefined) return known;
    const path = join(this.#folder, name);
    try {
      const fd = this.#addon.memfd(name, readFileSync(path), true);
      this.#files.set(name, fd);
      return fd;
    } catch (error) {
      throw wrap(error, `cannot load ${path}`, 'failed-precondition');
    }
  }

  close(): void {
    for (const fd of this.#files.values()) closeSync(fd);
    this.#files.clear();
  }
}
