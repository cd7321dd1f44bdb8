import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { SharedWork } from '../../../src/util/shared-work.js';

describe('SharedWork', () => {
  function slow(): {
    work: (signal: AbortSignal) => Promise<string>;
    finish: (value: string) => void;
    state: { runs: number; aborted: boolean };
  } {
    const state = { runs: 0, aborted: false };
    let finish: (value: string) => void = () => undefined;
    const work = (signal: AbortSignal): Promise<string> => {
      state.runs += 1;
      return new Promise((resolve, reject) => {
        finish = resolve;
        signal.addEventListener('abort', () => {
          state.aborted = true;
          reject(new Error('stopped'));
        });
      });
    };
    return {
      work,
      finish: (value) => {
        finish(value);
      },
      state,
    };
  }

  it('runs once for all, and anew afterwards', async () => {
    const shared = new SharedWork<string>();
    const { work, finish, state } = slow();
    const both = [
      shared.run('k', undefined, work),
      shared.run('k', new AbortController().signal, work),
    ];
    finish('one');
    assert.deepEqual(await Promise.all(both), ['one', 'one']);
    const later = shared.run('k', undefined, work);
    finish('two');
    assert.equal(await later, 'two');
    assert.equal(state.runs, 2);
  });

  it('keeps on for the others when one leaves', async () => {
    const shared = new SharedWork<string>();
    const { work, finish, state } = slow();
    const leaver = new AbortController();
    const leaving = shared.run('k', leaver.signal, work);
    const staying = shared.run('k', new AbortController().signal, work);
    leaver.abort(new Error('left'));
    await assert.rejects(leaving, /left/);
    finish('done');
    assert.equal(await staying, 'done');
    assert.equal(state.aborted, false);
  });

  it('stops when the last one leaves, and starts anew for the next', async () => {
    const shared = new SharedWork<string>();
    const { work, finish, state } = slow();
    const callers = [new AbortController(), new AbortController()];
    const leaving = callers.map(({ signal }) =>
      assert.rejects(shared.run('k', signal, work), /left/),
    );
    for (const caller of callers) caller.abort(new Error('left'));
    await turn();
    const next = shared.run('k', undefined, work);
    await Promise.all(leaving);
    assert.equal(state.aborted, true);
    finish('fresh');
    assert.equal(await next, 'fresh');
  });

  it('does not start for a caller that has left already', async () => {
    const { work, state } = slow();
    const signal = AbortSignal.abort(new Error('early'));
    await assert.rejects(new SharedWork<string>().run('k', signal, work), /early/);
    assert.equal(state.runs, 0);
  });

  it('gives a failure to all', async () => {
    const shared = new SharedWork<string>();
    const work = (): Promise<string> => Promise.reject(new Error('broken'));
    const callers = [shared.run('k', undefined, work), shared.run('k', undefined, work)];
    await Promise.all(callers.map((caller) => assert.rejects(caller, /broken/)));
  });
});
