import assert from 'node:assert/strict';
import fc from 'fast-check';
import { splitCgroupPath } from '../../../src/cgroup/cgroup-path.js';
import { RuntimeError } from '../../../src/core/errors.js';

describe('splitCgroupPath', () => {
  it('splits an absolute path', () => {
    assert.deepEqual(splitCgroupPath('/kubepods/burstable/pod1'), [
      'kubepods',
      'burstable',
      'pod1',
    ]);
    assert.deepEqual(splitCgroupPath('/'), []);
  });

  for (const path of [
    '',
    'a',
    'a/b',
    '//',
    '/a/',
    '/a//b',
    '/..',
    '/a/../b',
    '/.',
    '/a\nb',
    '/a\0b',
  ]) {
    it(`rejects ${JSON.stringify(path)}`, () => {
      assert.throws(
        () => splitCgroupPath(path),
        (error) => error instanceof RuntimeError && error.kind === 'invalid-argument',
      );
    });
  }

  it('accepts only what joins back to itself', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', '.', '..', '/', '\n', 'b.c')), (pieces) => {
        const path = `/${pieces.join('')}`;
        let parts: string[];
        try {
          parts = splitCgroupPath(path);
        } catch {
          return;
        }
        assert.equal(`/${parts.join('/')}`, path);
        assert.ok(!parts.includes('..') && !parts.includes('.'));
      }),
    );
  });
});
