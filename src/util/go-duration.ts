/** Durations as Go's time.ParseDuration reads them, which containerd's files use. */

const UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of `1m30s`, `500ms`, `1.5h`; undefined for anything else, a negative one included. */
export function parseGoDuration(text: string): number | undefined {
  if (text === '0') return 0;
  if (!/^\+?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return undefined;
  let milliseconds = 0;
  for (const [, number = '', unit = ''] of text.matchAll(/(\d*\.?\d*)(ns|us|µs|μs|ms|s|m|h)/g)) {
    milliseconds += Number(number) * (UNITS_MS[unit] ?? 0);
  }
  return milliseconds;
}
