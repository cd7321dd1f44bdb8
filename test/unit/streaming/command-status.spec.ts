/** What clients are told of a command's end. */
import assert from 'node:assert/strict';
import { statusMessage } from '../../../src/streaming/command-status.js';

describe('the status of a command', () => {
  it('is a metav1.Status from version 4 on', () => {
    for (const version of [4, 5] as const) {
      assert.deepEqual(JSON.parse(statusMessage(version, { kind: 'success' })), {
        status: 'Success',
      });
      assert.deepEqual(JSON.parse(statusMessage(version, { kind: 'exit', code: 137 })), {
        status: 'Failure',
        reason: 'NonZeroExitCode',
        message: 'command terminated with non-zero exit code: 137',
        details: { causes: [{ reason: 'ExitCode', message: '137' }] },
      });
      assert.deepEqual(JSON.parse(statusMessage(version, { kind: 'failure', message: 'no' })), {
        status: 'Failure',
        reason: 'InternalError',
        message: 'Internal error occurred: no',
        code: 500,
      });
    }
  });

  it('is a text before that, and nothing for success', () => {
    for (const version of [1, 2, 3] as const) {
      assert.equal(statusMessage(version, { kind: 'success' }), '');
      assert.match(statusMessage(version, { kind: 'exit', code: 2 }), /exit code: 2$/);
      assert.match(statusMessage(version, { kind: 'failure', message: 'no' }), /occurred: no$/);
    }
  });
});
