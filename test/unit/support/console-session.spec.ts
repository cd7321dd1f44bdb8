/** The comparison of documented with real output: loose where it must be, and nowhere else. */
import assert from 'node:assert/strict';
import { consoleSteps, difference, linePattern } from '../../support/console-session.js';

describe('a documented session', () => {
  it('is read from console blocks alone', () => {
    const markdown = 'a\n```sh\n# no\n```\n```console\n# one   a remark\nout\n# two\n```\n# head\n';
    assert.deepEqual(consoleSteps(markdown), [
      { line: 6, command: 'one', expected: ['out'] },
      { line: 8, command: 'two', expected: [] },
    ]);
  });

  it('may differ in ids, addresses, sizes, ages and widths', () => {
    const line = 'e292aa6bba746  web  10.88.0.2  984KiB  2s';
    assert.match('0123456789abc  web  10.99.0.17   1.0MiB 13s', linePattern(line));
    assert.match('pulled in 3.1 s', linePattern('pulled in 212 ms'));
    assert.match('web  5m  0.01s', linePattern('web  …'));
  });

  it('may not differ in anything else', () => {
    for (const [expected, printed] of [
      ['web running', 'web exited'],
      ['exited (0)', 'exited (1)'],
      ['a.b', 'axb'],
      ['user 1000', 'user 0'],
      ['10.88.0.2', '10.88.0'],
    ] as const) {
      assert.doesNotMatch(printed, linePattern(expected));
    }
  });

  it('tells the first line that is wrong', () => {
    assert.equal(difference([], ''), undefined);
    assert.equal(difference(['a', 'b'], 'a\nb\n'), undefined);
    assert.equal(difference(['a'], 'a\nb\n'), 'unexpected: b');
    assert.equal(difference(['a', 'b'], 'a\n'), 'missing: b');
    assert.equal(difference(['a'], 'c\n'), 'expected: a\n  printed: c');
  });
});
