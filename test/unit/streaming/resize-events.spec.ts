/** Sizes of terminals, as clients write them. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { RuntimeError } from '../../../src/core/errors.js';
import { ResizeDecoder } from '../../../src/streaming/resize-events.js';

describe('resize events', () => {
  it('are read wherever they are cut', () => {
    const uint16 = fc.nat(0xffff);
    const sizes = fc.array(
      fc.record({ rows: uint16, columns: uint16 }, { noNullPrototype: true }),
      { maxLength: 20 },
    );
    const space = fc.constantFrom('', '\n', ' ');
    fc.assert(
      fc.property(sizes, space, fc.integer({ min: 1, max: 50 }), (all, between, step) => {
        const bytes = Buffer.from(
          all.map(({ rows, columns }) => `{"Width":${columns},"Height":${rows}}`).join(between),
        );
        const decoder = new ResizeDecoder();
        const read = [];
        for (let at = 0; at < bytes.length; at += step) {
          read.push(...decoder.push(bytes.subarray(at, at + step)));
        }
        assert.deepEqual(read, all);
      }),
    );
  });

  it('may have keys in any case, and more of them', () => {
    const [size] = new ResizeDecoder().push(Buffer.from('{"width":80,"HEIGHT":24,"x":1}'));
    assert.deepEqual(size, { rows: 24, columns: 80 });
  });

  it('are refused when they are none', () => {
    for (const text of [
      '{"Width":65536,"Height":1}',
      '{"Width":-1}',
      '{]}',
      '[1]}',
      '{'.repeat(5000),
    ])
      assert.throws(() => new ResizeDecoder().push(Buffer.from(text)), RuntimeError);
  });

  it('are read or refused, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          new ResizeDecoder().push(bytes);
        } catch (error) {
          assert.ok(error instanceof RuntimeError);
        }
      }),
    );
  });
});
