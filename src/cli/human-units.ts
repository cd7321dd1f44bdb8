/** Times and sizes as people read and write them. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

/** The steps of kubectl: coarser the longer ago. */
export function formatAge(milliseconds: number): string {
  const time = Math.max(0, milliseconds);
  const count = (unit: number, within = Infinity): number => Math.floor((time % within) / unit);
  const pair = (big: string, small: string, rest: number): string =>
    rest === 0 ? big : `${big}${rest}${small}`;
  if (time < 2 * MINUTE) return `${count(SECOND)}s`;
  if (time < 10 * MINUTE) return pair(`${count(MINUTE)}m`, 's', count(SECOND, MINUTE));
  if (time < 3 * HOUR) return `${count(MINUTE)}m`;
  if (time < 8 * HOUR) return pair(`${count(HOUR)}h`, 'm', count(MINUTE, HOUR));
  if (time < 2 * DAY) return `${count(HOUR)}h`;
  if (time < 8 * DAY) return pair(`${count(DAY)}d`, 'h', count(HOUR, DAY));
  if (time < 2 * YEAR) return `${count(DAY)}d`;
  if (time < 8 * YEAR) return pair(`${count(YEAR)}y`, 'd', count(DAY, YEAR));
  return `${count(YEAR)}y`;
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes}B`;
  let value = bytes;
  let unit = '';
  for (const next of ['KiB', 'MiB', 'GiB', 'TiB']) {
    if (value < 1023.95) break;
    value /= 1024;
    unit = next;
  }
  return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)}${unit}`;
}

export function formatMilliseconds(milliseconds: number): string {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 10_000) return `${milliseconds.toFixed(0)} ms`;
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: SECOND,
  m: MINUTE,
  h: HOUR,
  d: DAY,
};

/** `90`, `90s`, `1m30s`, `500ms`; a bare number is seconds. Undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  if (/^\d{1,9}(\.\d{1,3})?$/.test(text)) return Number(text) * SECOND;
  if (!/^(\d{1,9}(ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, figure, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g)) {
    total += Number(figure) * (UNITS[unit ?? ''] ?? 0);
  }
  return total;
}

/** RFC 3339 with nanoseconds; null for the zero that stands for "not yet". */
export function isoTime(nanoseconds: bigint): string | null {
  if (nanoseconds <= 0n) return null;
  const seconds = new Date(Number(nanoseconds / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(nanoseconds % 1_000_000_000n).padStart(9, '0')}Z`;
}
