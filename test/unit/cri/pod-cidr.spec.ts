import assert from 'node:assert/strict';
import fc from 'fast-check';
import { RuntimeError } from '../../../src/core/errors.js';
import { parsePodCidrs } from '../../../src/cri/pod-cidr.js';

describe('parsePodCidrs', () => {
  it('takes one network, one of each family, or none', () => {
    assert.deepEqual(parsePodCidrs(''), []);
    assert.deepEqual(parsePodCidrs('10.1.2.0/24'), ['10.1.2.0/24']);
    assert.deepEqual(parsePodCidrs('fd00:3::/64,10.1.2.0/0'), ['fd00:3::/64', '10.1.2.0/0']);
  });

  for (const text of [
    ' ',
    ',',
    '10.1.2.0',
    '10.1.2.0/33',
    '10.1.2.0/-1',
    '10.1.2.0/024',
    '10.1.2.0/24/1',
    '10.1.2.0/24,',
    '10.1.2.0/24,10.2.0.0/24',
    '10.1.2.0/24,fd00::/64,fd01::/64',
    'fd00::/129',
    'fe80::1%eth0/64',
    '300.1.2.0/24',
    '10.1.2.0/24\n',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => parsePodCidrs(text),
        (error) => error instanceof RuntimeError && error.kind === 'invalid-argument',
      );
    });
  }

  it('answers or refuses, whatever comes', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          assert.ok(parsePodCidrs(text).length <= 2);
        } catch (error) {
          assert.ok(error instanceof RuntimeError);
        }
      }),
    );
  });
});
