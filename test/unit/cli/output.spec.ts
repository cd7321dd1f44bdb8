/** Writing: back-pressure, an abort, and colours. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { Output } from '../../../src/cli/output.js';
import type { OutputStream } from '../../../src/cli/output.js';

describe('Output', () => {
  it('waits for a slow reader', async () => {
    const stream = new PassThrough({ highWaterMark: 4 });
    const output = new Output(stream, new AbortController().signal);
    let isWritten = false;
    const writing = output.write('more than four').then(() => (isWritten = true));
    await delay(10);
    assert.equal(isWritten, false);
    assert.equal(String(stream.read()), 'more than four');
    await writing;
  });

  it('stops waiting at an abort, and writes nothing after it', async () => {
    const stream = new PassThrough({ highWaterMark: 4 });
    const stop = new AbortController();
    const output = new Output(stream, stop.signal);
    const writing = output.write('more than four');
    stop.abort();
    await writing;
    await output.write('after');
    assert.equal(String(stream.read()), 'more than four');
  });

  it('gives up on a stream that breaks', async () => {
    const stream = new PassThrough({ highWaterMark: 4 });
    const output = new Output(stream);
    const writing = output.write('more than four');
    stream.once('error', () => undefined);
    stream.destroy(new Error('EPIPE'));
    await writing;
    await output.line('after');
  });

  it('has colours on a terminal alone', () => {
    const terminal: OutputStream = new PassThrough();
    terminal.isTTY = true;
    const before = process.env['NO_COLOR'];
    try {
      delete process.env['NO_COLOR'];
      assert.equal(new Output(terminal).styled('red', 'x'), '\u001b[31mx\u001b[39m');
      assert.equal(new Output(new PassThrough()).styled('red', 'x'), 'x');
      process.env['NO_COLOR'] = '1';
      assert.equal(new Output(terminal).styled('red', 'x'), 'x');
    } finally {
      if (before === undefined) delete process.env['NO_COLOR'];
      else process.env['NO_COLOR'] = before;
    }
  });
});
