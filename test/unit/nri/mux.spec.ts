/** Frames of the mux: what is written is what is read, however it is cut; garbage ends it, bounded. */
import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import fc from 'fast-check';
import { FrameReader, Mux, toFrames } from '../../../src/nri/mux.js';

describe('the frames of the mux', () => {
  it('carry messages of several connections, whatever the cuts of the stream', () => {
    const message = fc.tuple(fc.integer({ min: 0, max: 3 }), fc.uint8Array({ maxLength: 9000 }));
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }),
        (messages, cuts) => {
          const stream = Buffer.concat(
            messages.flatMap(([id, bytes]) => toFrames(id, Buffer.from(bytes))),
          );
          const read = new Map<number, Buffer[]>();
          const reader = new FrameReader((id, bytes) => {
            read.set(id, [...(read.get(id) ?? []), bytes]);
          });
          for (let at = 0, i = 0; at < stream.length; i++) {
            const cut = cuts[i % cuts.length] ?? 1;
            reader.push(stream.subarray(at, at + cut));
            at += cut;
          }
          for (const id of [0, 1, 2, 3]) {
            const sent = messages.filter(([of]) => of === id).map(([, bytes]) => bytes);
            assert.deepEqual(Buffer.concat(read.get(id) ?? []), Buffer.concat(sent));
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it('are at most 4 KiB at the start of a message, and few', () => {
    const frames = toFrames(1, Buffer.alloc(4 << 20));
    const payloads = frames.filter((_, index) => index % 2 === 1).map(({ length }) => length);
    assert.deepEqual(payloads, [4096, (4 << 20) - 4096]);
    assert.deepEqual(toFrames(7, Buffer.from('abc')), [
      Buffer.from([0, 0, 0, 7, 0, 0, 0, 3]),
      Buffer.from('abc'),
    ]);
  });

  it('refuse a length that no message has', () => {
    const reader = new FrameReader(() => undefined);
    assert.throws(() => {
      reader.push(Buffer.from([0, 0, 0, 1, 0x7f, 0, 0, 0]));
    }, /longer than/);
  });

  it('take any bytes without more than an error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 })), (chunks) => {
        const reader = new FrameReader(() => undefined);
        try {
          for (const chunk of chunks) reader.push(Buffer.from(chunk));
        } catch (error) {
          assert.match(String(error), /longer than/);
        }
      }),
    );
  });
});

describe('a mux', () => {
  it('closes once, whatever comes after', async () => {
    const [ours, theirs] = duplexPair();
    const ends: (Error | null)[] = [];
    const mux = new Mux(ours, {
      data: () => assert.fail('no data was due'),
      closed: (error) => ends.push(error),
    });
    theirs.write(Buffer.alloc(8, 0xff));
    await new Promise((resolve) => ours.once('close', resolve));
    mux.close(new Error('again'));
    mux.send(1, Buffer.from('x'));
    assert.equal(ends.length, 1);
    assert.match(String(ends[0]), /longer than/);
  });

  it('ends a peer that never reads before it holds much for it', () => {
    const [ours] = duplexPair();
    const ends: (Error | null)[] = [];
    const mux = new Mux(ours, {
      data: () => undefined,
      closed: (error) => ends.push(error),
    });
    for (let i = 0; i < 20 && ends.length === 0; i++) mux.send(1, Buffer.alloc(1 << 20));
    assert.match(String(ends[0]), /does not read/);
    assert.ok(ours.writableLength <= 17 << 20);
  });
});
