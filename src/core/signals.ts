/** Linux signal numbers by name, as image configs write them (`SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`). */
import { constants } from 'node:os';

const RTMIN = 34;
const RTMAX = 64;

/** The number, or 0 when the text is no signal: an image is hostile input and gets the default then. */
export function parseSignal(text: string): number {
  const upper = text.trim().toUpperCase();
  if (/^\d{1,2}$/.test(upper)) {
    const number = Number(upper);
    return number <= RTMAX ? number : 0;
  }
  const name = upper.startsWith('SIG') ? upper : `SIG${upper}`;
  const realtime = /^SIGRT(MIN\+|MAX-)(\d{1,2})$/.exec(name);
  if (realtime) {
    const offset = Number(realtime[2]);
    const number = realtime[1] === 'MIN+' ? RTMIN + offset : RTMAX - offset;
    return number >= RTMIN && number <= RTMAX ? number : 0;
  }
  if (name === 'SIGRTMIN') return RTMIN;
  if (name === 'SIGRTMAX') return RTMAX;
  return (constants.signals as Readonly<Record<string, number>>)[name] ?? 0;
}
