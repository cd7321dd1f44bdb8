/** One-time tokens: what a URL of the streaming server stands for, until somebody comes with it. */
import { randomBytes } from 'node:crypto';
import { RuntimeError } from '../core/errors.js';

/** As long as the other runtimes give a kubelet to come. */
const LIFE_MS = 60_000;
const MAX_PENDING = 1000;
/** 128 bits: a pod in the host's network reaches the port, and may try as often as it likes. */
const TOKEN_BYTES = 16;

export class TokenTable<T> {
  /** In the order of their end. */
  readonly #pending = new Map<string, { subject: T; end: number }>();
  readonly #now: () => number;

  /** `now` is a clock in milliseconds that never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Throws 'resource-exhausted' when too many wait to be used. */
  issue(subject: T): string {
    const now = this.#now();
    for (const [token, { end }] of this.#pending) {
      if (end > now) break;
      this.#pending.delete(token);
    }
    if (this.#pending.size >= MAX_PENDING) {
      throw new RuntimeError(
        'resource-exhausted',
        `${MAX_PENDING} streams were asked for and never opened: try again in ${LIFE_MS / 1000} seconds`,
      );
    }
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    this.#pending.set(token, { subject, end: now + LIFE_MS });
    return token;
  }

  /** Leaves the token to be taken. */
  has(token: string): boolean {
    const found = this.#pending.get(token);
    return found !== undefined && found.end > this.#now();
  }

  /** undefined when the token was never given out, was used before, or is too old. */
  take(token: string): T | undefined {
    const found = this.#pending.get(token);
    if (found === undefined) return undefined;
    this.#pending.delete(token);
    return found.end > this.#now() ? found.subject : undefined;
  }
}
