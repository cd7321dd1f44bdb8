/** Kubernetes resource quantities (`500m`, `64Mi`, `1.5`, `2e3`), computed exactly. */

const SCALES: Readonly<Record<string, bigint>> = {
  '': 1n,
  k: 10n ** 3n,
  M: 10n ** 6n,
  G: 10n ** 9n,
  T: 10n ** 12n,
  P: 10n ** 15n,
  E: 10n ** 18n,
  Ki: 1n << 10n,
  Mi: 1n << 20n,
  Gi: 1n << 30n,
  Ti: 1n << 40n,
  Pi: 1n << 50n,
  Ei: 1n << 60n,
};

/** Suffixes below one, as the divisor they mean. */
const DIVISORS: Readonly<Record<string, bigint>> = { m: 10n ** 3n, u: 10n ** 6n, n: 10n ** 9n };

const QUANTITY = /^\+?(\d{0,30})(?:\.(\d{0,30}))?(?:[eE]([+-]?\d{1,2})|([a-zA-Z]{0,2}))$/;

/**
 * The quantity in units of 1/`unitsPerOne`, rounded up as Kubernetes does: 1000 for millicores, 1 for
 * bytes. Undefined when the text is no quantity or negative.
 */
export function parseQuantity(text: string, unitsPerOne: bigint): bigint | undefined {
  const match = QUANTITY.exec(text);
  if (match === null) return undefined;
  const [, whole = '', fraction = '', exponent = '0', suffix = ''] = match;
  if (whole === '' && fraction === '') return undefined;
  const divisorOfSuffix = DIVISORS[suffix] ?? 1n;
  const scale = SCALES[suffix] ?? (suffix in DIVISORS ? 1n : undefined);
  if (scale === undefined) return undefined;
  let numerator = BigInt(whole + fraction) * scale * unitsPerOne;
  let divisor = 10n ** BigInt(fraction.length) * divisorOfSuffix;
  const power = Number(exponent);
  if (power >= 0) numerator *= 10n ** BigInt(power);
  else divisor *= 10n ** BigInt(-power);
  return (numerator + divisor - 1n) / divisor;
}
