/** Last in first out, all of it, and the first error is the one that counts. */
import assert from 'node:assert/strict';
import { UndoStack, withUndo } from '../../../src/util/undo.js';
import type { UndoFailure } from '../../../src/util/undo.js';

const unexpected = (): void => {
  assert.fail('must not run');
};

describe('UndoStack', () => {
  it('undoes newest first and goes on after a failure', async () => {
    const undo = new UndoStack();
    const done: string[] = [];
    undo.add('first', () => done.push('first'));
    undo.add('second', () => {
      throw new Error('stuck');
    });
    undo.add('third', async () => {
      await Promise.resolve();
      done.push('third');
    });
    const failures = await undo.rollback();
    assert.deepEqual(done, ['third', 'first']);
    assert.deepEqual(
      failures.map(({ what, error }) => [what, String(error)]),
      [['second', 'Error: stuck']],
    );
    assert.deepEqual(await undo.rollback(), []);
  });

  it('undoes nothing after commit', async () => {
    const undo = new UndoStack();
    undo.add('x', unexpected);
    undo.commit();
    assert.deepEqual(await undo.rollback(), []);
  });

  it('withUndo throws the error of the work and reports those of the undoing', async () => {
    const reported: UndoFailure[] = [];
    const work = withUndo(
      (undo) => {
        undo.add('step', () => {
          throw new Error('undo failed');
        });
        return Promise.reject(new Error('work failed'));
      },
      (failure) => reported.push(failure),
    );
    await assert.rejects(work, /work failed/);
    assert.deepEqual(
      reported.map(({ what }) => what),
      ['step'],
    );
    assert.equal(await withUndo(() => Promise.resolve(3), unexpected), 3);
  });
});
