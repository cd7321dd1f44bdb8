/** The terminal around the command: its size, and raw mode, which ends on every way out. */
import type { ReadStream, WriteStream } from 'node:tty';
import type { TerminalSize } from '../core/model.js';

export interface Terminal {
  size(): TerminalSize;
  /** Calls back at each change, until the answer is called. */
  onResize(changed: () => void): () => void;
  /** Keys reach the container as they are typed, Ctrl-C too. The answer restores the terminal. */
  makeRaw(): () => void;
}

export function processTerminal(input: ReadStream, output: WriteStream): Terminal {
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
      const restore = (): void => {
        process.off('exit', restore);
        input.setRawMode(false);
      };
      // For an end that nobody foresaw; a process that is killed leaves the terminal to `reset`.
      process.once('exit', restore);
      input.setRawMode(true);
      return restore;
    },
  };
}
