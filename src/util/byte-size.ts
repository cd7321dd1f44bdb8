/** Sizes as configuration writes them: "10GiB". */

const UNITS: Readonly<Record<string, number>> = {
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Bytes of "0" or of a whole number with its unit; undefined for anything else. */
export function parseByteSize(text: string): number | undefined {
  if (text === '0') return 0;
  const [, digits = '', unit = ''] = /^([1-9][0-9]{0,6})(KiB|MiB|GiB|TiB)$/.exec(text) ?? [];
  const factor = UNITS[unit];
  const bytes = Number(digits) * (factor ?? 0);
  return factor === undefined || bytes > MOST ? undefined : bytes;
}

/** A pebibyte: what file systems can have, and numbers can count. */
const MOST = 2 ** 50;
