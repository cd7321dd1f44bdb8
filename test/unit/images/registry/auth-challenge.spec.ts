import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseChallenges } from '../../../../src/images/registry/auth-challenge.js';

const plain = (header: string): unknown =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe('parseChallenges', () => {
  it('reads what registries send', () => {
    for (const [header, expected] of [
      ['', []],
      ['Basic', [['basic', {}]]],
      ['Basic realm="x, y=\\"z\\""', [['basic', { realm: 'x, y="z"' }]]],
      [
        'Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"',
        [['bearer', { realm: 'https://a/t', service: 's', scope: 'repository:a/b:pull,push' }]],
      ],
      [
        'Negotiate, BEARER Realm = "r" , error=invalid_token, Basic realm=b',
        [
          ['negotiate', {}],
          ['bearer', { realm: 'r', error: 'invalid_token' }],
          ['basic', { realm: 'b' }],
        ],
      ],
      ['Bearer realm="unclosed', [['bearer', { realm: '' }]]],
      ['"', []],
    ] as const) {
      assert.deepEqual(plain(header), expected, header);
    }
  });

  it('ends on any text, soon', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => void plain(text)),
    );
    const before = Date.now();
    plain(`Bearer ${'a="\\'.repeat(100_000)}`);
    plain(','.repeat(1_000_000));
    assert.ok(Date.now() - before < 1000);
  });
});
