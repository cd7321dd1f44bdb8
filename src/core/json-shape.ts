/** Readers for values of parsed JSON: each gives the type asked for, or an error that names the place. */
import { RuntimeError } from './errors.js';

export type JsonObject = Readonly<Record<string, unknown>>;

export function asObject(value: unknown, where: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as JsonObject;
  }
  throw wrongType(where, 'an object');
}

export function asArray(value: unknown, where: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw wrongType(where, 'an array');
}

/** No string of ours may hold NUL: it would end early in every system call. */
export function asString(value: unknown, where: string): string {
  if (typeof value !== 'string') throw wrongType(where, 'a string');
  if (value.includes('\0')) throw wrongType(where, 'a string without NUL');
  return value;
}

/** A key of the document itself, never one of Object.prototype; null counts as absent, as in Go. */
export function property(object: JsonObject, key: string): unknown {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  return value === null ? undefined : value;
}

export function optional<T>(
  object: JsonObject,
  key: string,
  where: string,
  read: (value: unknown, where: string) => T,
  absent: T,
): T {
  const value = property(object, key);
  return value === undefined ? absent : read(value, `${where}.${key}`);
}

/** From 0 to `most`; larger ones than a double holds as parseStrictJson's `largeIntegers` gives them. */
export function asInteger(value: unknown, where: string, most: bigint | number): bigint {
  const isInteger = typeof value === 'bigint' || Number.isSafeInteger(value);
  const integer = isInteger ? BigInt(value as bigint | number) : -1n;
  if (integer >= 0n && integer <= most) return integer;
  throw wrongType(where, `an integer from 0 to ${most}`);
}

export function asStrings(value: unknown, where: string): string[] {
  return asArray(value, where).map((item, index) => asString(item, `${where}[${index}]`));
}

/** An object of strings as pairs, in the document's order. */
export function asPairs(value: unknown, where: string): [string, string][] {
  return Object.entries(asObject(value, where)).map(([key, item]) => [
    asString(key, where),
    item === null ? '' : asString(item, `${where}[${JSON.stringify(key.slice(0, 80))}]`),
  ]);
}

/** For documents of our own side: a key that is not understood must not look as if it were. */
export function onlyKeys(object: JsonObject, known: readonly string[], where: string): void {
  const unknown = Object.keys(object).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  throw new RuntimeError(
    'invalid-argument',
    `${where} has unknown key ${JSON.stringify(unknown.slice(0, 80))}: known are ${known.join(', ')}`,
  );
}

function wrongType(where: string, expected: string): RuntimeError {
  return new RuntimeError('invalid-argument', `${where} is not ${expected}`);
}
