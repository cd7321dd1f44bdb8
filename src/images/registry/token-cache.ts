/** What registries have let us in with, kept across pulls for as long as it holds. */
import { createHash } from 'node:crypto';

export interface TokenKey {
  /** Whom it is sent to. */
  server: string;
  /** `repository:NAME:ACTIONS`, several apart by blanks. */
  scope: string;
  credentials: object;
}

interface Entry {
  authorization: string;
  /** On `performance.now`'s clock, which nobody sets. */
  expiresAt: number;
}

const MOST_ENTRIES = 256;
/** A token is given up before its end, so that it does not end on its way. */
const USED_SHARE = 0.9;
const LONGEST_LIFE_S = 3600;

export class TokenCache {
  readonly #entries = new Map<string, Entry>();

  /** The Authorization header, undefined when nothing is known or it has expired. */
  get(key: TokenKey): string | undefined {
    const text = textOf(key);
    const entry = this.#entries.get(text);
    if (entry === undefined) return undefined;
    if (entry.expiresAt > performance.now()) return entry.authorization;
    this.#entries.delete(text);
    return undefined;
  }

  set(key: TokenKey, authorization: string, lifeSeconds: number): void {
    const text = textOf(key);
    this.#entries.delete(text);
    // The oldest goes: a Map keeps the order in which keys came.
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined && this.#entries.size >= MOST_ENTRIES) this.#entries.delete(oldest);
    const life = Math.min(Math.max(lifeSeconds, 0), LONGEST_LIFE_S) * USED_SHARE;
    this.#entries.set(text, { authorization, expiresAt: performance.now() + life * 1000 });
  }

  /** Only if it is still the one that was refused. */
  drop(key: TokenKey, authorization: string | undefined): void {
    const text = textOf(key);
    if (this.#entries.get(text)?.authorization === authorization) this.#entries.delete(text);
  }
}

/** Who has other credentials may have other rights. A digest: no password is kept for this. */
function textOf({ server, scope, credentials }: TokenKey): string {
  const digest = createHash('sha256').update(JSON.stringify(credentials)).digest('base64');
  return JSON.stringify([server, scope, digest]);
}
