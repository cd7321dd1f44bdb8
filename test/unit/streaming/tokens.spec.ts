/** One-time tokens: their number, their life, their use. */
import assert from 'node:assert/strict';
import { RuntimeError } from '../../../src/core/errors.js';
import { TokenTable } from '../../../src/streaming/tokens.js';

describe('stream tokens', () => {
  it('have 128 bits and are never the same', () => {
    const tokens = new TokenTable<number>();
    const all = Array.from({ length: 1000 }, (_, i) => tokens.issue(i));
    assert.equal(new Set(all).size, 1000);
    for (const token of all) assert.equal(Buffer.from(token, 'base64url').length, 16);
  });

  it('are good once', () => {
    const tokens = new TokenTable<string>();
    const token = tokens.issue('subject');
    assert.equal(tokens.take(token.slice(0, -1)), undefined);
    assert.equal(tokens.take(token), 'subject');
    assert.equal(tokens.take(token), undefined);
  });

  it('are good for a minute', () => {
    let now = 0;
    const tokens = new TokenTable<string>(() => now);
    const [early, late] = [tokens.issue('early'), tokens.issue('late')];
    now = 59_999;
    assert.equal(tokens.take(early), 'early');
    now = 60_000;
    assert.equal(tokens.take(late), undefined);
  });

  it('are at most 1,000 that nobody has come with, and the old make room', () => {
    let now = 0;
    const tokens = new TokenTable<number>(() => now);
    const issue = (): string => tokens.issue(0);
    const first = issue();
    now = 1000;
    for (let i = 1; i < 1000; i++) issue();
    const full = (error: unknown): boolean =>
      error instanceof RuntimeError && error.kind === 'resource-exhausted';
    assert.throws(issue, full);
    tokens.take(first);
    issue();
    assert.throws(issue, full);
    now = 61_000;
    for (let i = 0; i < 1000; i++) issue();
    assert.throws(issue, full);
  });
});
