/** The terminal around the command: its size, and raw mode, which ends on every way out. */
import type { ReadStream, WriteStream } from 'node:tty';
import type { TerminalSize } from '../core/model.js';
import { loadAddon } from '../native/binding.js';

export interface Terminal {
  size(): TerminalSize;
  /** Calls back at each change, until the answer is called. */
  onResize(changed: () => void): () => void;
  /** Keys reach the container as they are typed, Ctrl-C too. The answer restores the terminal. */
  makeRaw(): () => void;
}

export function processTerminal(input: ReadStream & { fd: number }, output: WriteStream): Terminal {
  return {
    size: () => {
      const [columns, rows] = output.getWindowSize();
      return { rows, columns };
    },
    onResize: (changed) => {
      // Node watches SIGWINCH for it.
      output.on('resize', changed);
      return () => {
        output.off('resize', changed);
      };
    },
    makeRaw: () => {
      const addon = loadAddon();
      const before = addon.makeTerminalRaw(input.fd);
      const restore = (): void => {
        process.off('exit', restore);
        try {
          addon.setTerminal(input.fd, before);
        } catch {
          // The terminal is gone, as with a window that was closed.
        }
      };
      // For an end that nobody foresaw; a process that is killed leaves the terminal to `reset`.
      process.once('exit', restore);
      return restore;
    },
  };
}
