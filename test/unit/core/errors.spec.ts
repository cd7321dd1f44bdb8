/** Failures of the system get the kind that callers can act on. */
import assert from 'node:assert/strict';
import { RuntimeError, wrap, type ErrorKind } from '../../../src/core/errors.js';

function systemError(code: string, errno: number): Error {
  return Object.assign(new Error(code), { code, errno, syscall: 'write' });
}

describe('wrap', () => {
  for (const [code, errno, kind] of [
    ['ENOSPC', -28, 'resource-exhausted'],
    // What node:fs and the addon make of EDQUOT, which libuv does not know.
    ['UNKNOWN', -122, 'resource-exhausted'],
    ['Unknown system error -122', -122, 'resource-exhausted'],
    ['EROFS', -30, 'failed-precondition'],
    ['EIO', -5, 'internal'],
  ] as [string, number, ErrorKind][]) {
    it(`takes ${code} for ${kind}`, () => {
      const wrapped = wrap(systemError(code, errno), 'cannot write');
      assert.deepEqual([wrapped.kind, wrapped.message], [kind, `cannot write: ${code}`]);
    });
  }

  it('keeps the kind of our own', () => {
    assert.equal(wrap(new RuntimeError('not-found', 'x'), 'y', 'internal').kind, 'not-found');
    assert.equal(wrap('text', 'y', 'aborted').kind, 'aborted');
  });
});
