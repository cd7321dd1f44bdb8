import assert from 'node:assert/strict';
import { status } from '@grpc/grpc-js';
import { RuntimeError, wrap, type ErrorKind } from '../../../src/core/errors.js';
import { fromServiceError, toServiceError } from '../../../src/cri/status.js';

describe('gRPC status', () => {
  it("begins with the kubelet's own words where it has some, behind code UNKNOWN", () => {
    for (const [kind, prefix] of [
      ['registry-unavailable', 'RegistryUnavailable: '],
      ['signature-invalid', 'SignatureValidationFailed: '],
    ] as const) {
      const error = wrap(new RuntimeError(kind, 'no answer'), 'cannot pull a/b:1');
      const { code, details } = toServiceError(error);
      assert.deepEqual([code, details], [status.UNKNOWN, `${prefix}cannot pull a/b:1: no answer`]);
    }
  });

  it('comes back as it went, but for what has no kind', () => {
    const kinds: ErrorKind[] = ['not-found', 'unavailable', 'unknown', 'registry-unavailable'];
    for (const kind of kinds) {
      const back = fromServiceError(toServiceError(new RuntimeError(kind, 'why')));
      assert.deepEqual([back.kind, back.message], [kind, 'why']);
    }
    const other = fromServiceError(toServiceError(new Error('oops')));
    assert.deepEqual([other.kind, other.message], ['internal', 'oops']);
    const outOfRange = Object.assign(toServiceError(''), { code: status.OUT_OF_RANGE });
    assert.equal(fromServiceError(outOfRange).kind, 'invalid-argument');
  });
});
