/** The native executables the engine starts, each read once into a sealed memory file. */
import { closeSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, wrap } from '../core/errors.js';
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
      // Where the sysctl is 2 the kernel makes no executable memory file (memfd_create(2)), and to run
      // the file on the host instead would hand it to payloads.
      const advice = hasCode(error, 'EACCES') ? ': set the sysctl vm.memfd_noexec to 0 or 1' : '';
      throw wrap(error, `cannot load ${path}${advice}`, 'failed-precondition');
    }
  }

  close(): void {
    for (const fd of this.#files.values()) closeSync(fd);
    this.#files.clear();
  }
}
