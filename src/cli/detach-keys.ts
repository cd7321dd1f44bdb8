/** Ctrl-P Ctrl-Q in what is typed: the keys that leave a container and let it go on. */

const CTRL_P = 0x10;
const CTRL_Q = 0x11;

export class DetachKeys {
  #held = false;

  /** What of it is for the container. A Ctrl-P is held back until the next key is known. */
  filter(typed: Uint8Array): { bytes: Buffer; detached: boolean } {
    const bytes: number[] = [];
    for (const byte of typed) {
      if (this.#held && byte === CTRL_Q) return { bytes: Buffer.from(bytes), detached: true };
      if (this.#held) bytes.push(CTRL_P);
      this.#held = byte === CTRL_P;
      if (!this.#held) bytes.push(byte);
    }
    return { bytes: Buffer.from(bytes), detached: false };
  }
}
