/** Repeats what a network may fail at for a moment. */
import { setTimeout as sleep } from 'node:timers/promises';

/** A failure that another try may not meet. */
export class TransientError extends Error {
  /** What the server asked to wait, 0 for no wish. */
  readonly waitMs: number;

  constructor(message: string, cause?: unknown, waitMs = 0) {
    super(message, { cause });
    this.name = 'TransientError';
    this.waitMs = waitMs;
  }
}

const DELAYS_MS = [200, 600, 1500];
/** Who asks to be left alone for longer is not asked again: the caller may, later. */
export const LONGEST_WAIT_MS = 30_000;

export const MOST_RETRIES = DELAYS_MS.length;

/** Waits before retry number `retry`, from 0, longer each time; sooner callers don't come back in step. */
export async function pauseBeforeRetry(
  retry: number,
  error: TransientError,
  signal: AbortSignal,
): Promise<void> {
  const delay = (DELAYS_MS[retry] ?? 0) * (0.75 + Math.random() / 2);
  await sleep(Math.max(delay, Math.min(error.waitMs, LONGEST_WAIT_MS)), undefined, { signal });
}

/** A Retry-After header (RFC 9110, 10.2.3), seconds or a date, in milliseconds; 0 for none. */
export function parseRetryAfter(text: string, now: number): number {
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isFinite(wait) && wait > 0 ? wait : 0;
}

/** Runs `work` until it returns, fails for good, or has failed for a moment too often. */
export async function withRetries<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let retry = 0; ; retry += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof TransientError) || retry === MOST_RETRIES) throw error;
      await pauseBeforeRetry(retry, error, signal);
    }
  }
}
