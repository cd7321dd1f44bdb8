/** Answers of a registry that are no success, as errors that have its own words. */
import { RuntimeError, type ErrorKind } from '../../core/errors.js';
import { asArray, asObject, property, type JsonObject } from '../../core/json-shape.js';
import { parseStrictJson } from '../../core/strict-json.js';
import { headerOf, readBody, type Response } from './http-client.js';
import { LONGEST_WAIT_MS, parseRetryAfter, TransientError } from '../source/retry.js';

const MAX_BYTES = 64 * 1024;
const MOST_ERRORS = 5;
const MOST_CHARACTERS = 200;

const KINDS: Readonly<Record<number, ErrorKind>> = {
  400: 'invalid-argument',
  401: 'unauthenticated',
  403: 'permission-denied',
  404: 'not-found',
  405: 'unimplemented',
};

const ADVICE: Readonly<Record<number, string>> = {
  401: ': credentials are missing or wrong',
  429: ': it limits how often it is asked; wait, or give it credentials',
};

/** Reads the body. `what` was asked of `host`. */
export async function answeredError(
  response: Response,
  host: string,
  what: string,
): Promise<Error> {
  const { statusCode } = response;
  const words = await readWords(response);
  const advice = ADVICE[statusCode] ?? '';
  const message = `${host} answered ${statusCode} for ${what}${advice}${words === '' ? '' : `: ${words}`}`;
  if (statusCode < 500 && statusCode !== 429 && statusCode !== 408) {
    return new RuntimeError(KINDS[statusCode] ?? 'unknown', message);
  }
  const wait = parseRetryAfter(headerOf(response, 'retry-after'), Date.now());
  if (wait <= LONGEST_WAIT_MS) return new TransientError(message, undefined, wait);
  const seconds = Math.ceil(wait / 1000);
  return new RuntimeError(
    'registry-unavailable',
    `${message} (it wants not to be asked for ${seconds} s)`,
  );
}

/**
 * What the formats for errors have: the registry's own and OAuth's. Nothing of any other answer, which
 * may be from anywhere.
 */
async function readWords(response: Response): Promise<string> {
  try {
    const bytes = await readBody(response, 'error', MAX_BYTES);
    const answer = asObject(parseStrictJson(bytes, 'error', MAX_BYTES), 'error');
    const errors = property(answer, 'errors');
    const words =
      errors === undefined
        ? [textOf(answer, 'error'), textOf(answer, 'error_description'), textOf(answer, 'details')]
        : asArray(errors, 'errors').slice(0, MOST_ERRORS).map(wordsOf);
    return words.filter((text) => text !== '').join('; ');
  } catch {
    // The status says enough.
    return '';
  }
}

function wordsOf(error: unknown): string {
  const object = asObject(error, 'error');
  const detail = textOf(object, 'detail');
  return [textOf(object, 'message') || textOf(object, 'code'), detail]
    .filter((text) => text !== '')
    .join(', ');
}

function textOf(object: JsonObject, key: string): string {
  const value = property(object, key);
  return typeof value === 'string' ? clean(value) : '';
}

/** For a log line and a terminal: no control characters, no change of the writing direction. */
function clean(text: string): string {
  return text
    .slice(0, MOST_CHARACTERS)
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
    .trim();
}

/** The way out: what has been tried often enough is the registry's failure. */
export function asUnavailable(error: unknown): unknown {
  return error instanceof TransientError
    ? new RuntimeError('registry-unavailable', error.message, error)
    : error;
}
