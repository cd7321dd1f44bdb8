/** Kinds of values in a Pod manifest: names, paths, quantities, maps. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { hasControlCharacter } from '../../util/control-characters.js';
import { parseQuantity } from './quantity.js';

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
export const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const QUALIFIED_NAME = /^([a-z0-9][-a-z0-9.]{0,252}\/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$/;
export const LABEL_VALUE = /^([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?$/;

export const dnsLabel = z.string().regex(DNS_LABEL, {
  error: 'must be a DNS label: lower-case letters, digits and "-", at most 63 characters',
});
export const plainText = z
  .string()
  .refine((text) => !hasControlCharacter(text), { error: 'must not contain control characters' });
/** execve takes any byte but NUL. */
export const word = z
  .string()
  .refine((text) => !text.includes('\0'), { error: 'must not contain a NUL character' });
export const absolutePath = plainText.refine(
  (text) => text.startsWith('/') && !text.split('/').includes('..'),
  { error: 'must be an absolute path without ".."' },
);
export const id = z.int().min(0).max(4294967294);
export const ipAddress = z
  .string()
  .refine((text) => isIP(text) !== 0, { error: 'must be an IP address' });

/** In units of 1/`unitsPerOne`. */
export function quantity(unitsPerOne: bigint): z.ZodType<bigint> {
  // Kubernetes takes a bare number as well: `cpu: 2`.
  return z.union([z.string(), z.number().transform(String)]).transform((text, context) => {
    const value = parseQuantity(text, unitsPerOne);
    if (value !== undefined && value < 1n << 63n) return value;
    context.issues.push({
      code: 'custom',
      message: 'must be a quantity such as 500m, 2, 64Mi or 1G',
      input: text,
    });
    return z.NEVER;
  });
}

/** A map kept as pairs: order stays, and no key is special. */
export function pairs(value: RegExp | null): z.ZodType<[string, string][]> {
  return z
    .custom<Record<string, unknown>>(isPlainObject, { error: 'must be a mapping' })
    .transform((object, context) => {
      const list: [string, string][] = [];
      for (const [key, item] of Object.entries(object)) {
        const problem = pairProblem(key, item, value);
        if (problem === undefined) list.push([key, String(item)]);
        else context.issues.push({ code: 'custom', message: problem, input: item, path: [key] });
      }
      return list;
    });
}

function pairProblem(key: string, item: unknown, value: RegExp | null): string | undefined {
  if (!QUALIFIED_NAME.test(key))
    return 'has a key that is no qualified name such as example.org/name';
  if (typeof item !== 'string') return 'must be a string; put it in quotes';
  if (value?.test(item) === false) {
    return 'must be a label value: letters, digits, "-", "_" and ".", at most 63 characters';
  }
  return undefined;
}

function isPlainObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
