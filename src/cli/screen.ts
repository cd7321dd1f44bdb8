/** A text that is shown again and again: in place on a terminal, one below the other elsewhere. */
import type { Output } from './output.js';

const HOME = '\u001b[H';
const CLEAR_TO_END_OF_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
const CLEAR_ALL = '\u001b[2J';

/** Each call shows `text`, whole lines, in the place of the one before. */
export function repaint(out: Output): (text: string) => Promise<void> {
  let isFirst = true;
  return async (text) => {
    if (out.isTerminal) {
      // Written over and then cleared, not cleared first: that would flicker.
      const lines = text
        .trimEnd()
        .split('\n')
        .slice(0, out.rows - 1);
      const body = lines.map((line) => `${line}${CLEAR_TO_END_OF_LINE}\n`).join('');
      await out.write(`${isFirst ? CLEAR_ALL : ''}${HOME}${body}${CLEAR_BELOW}`);
    } else {
      await out.write(isFirst ? text : `\n${text}`);
    }
    isFirst = false;
  };
}
