/** Frames: what is encoded comes out again, however it is cut. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  CHANNEL,
  encodeFrames,
  encodeSize,
  FrameDecoder,
} from '../../../src/core/attach-frames.js';

describe('attach-frames', () => {
  it('come out as they went in, however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            channel: fc.constantFrom(...Object.values(CHANNEL)),
            bytes: fc.uint8Array({ maxLength: 40 }),
          }),
          { maxLength: 10 },
        ),
        fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }),
        (frames, cuts) => {
          const stream = Buffer.concat(
            frames.map(({ channel, bytes }) => encodeFrames(channel, bytes)),
          );
          const decoder = new FrameDecoder();
          const seen: { channel: number; bytes: number[] }[] = [];
          for (let at = 0, i = 0; at < stream.length; i += 1) {
            const size = cuts[i % cuts.length] ?? 1;
            for (const { channel, bytes } of decoder.push(stream.subarray(at, at + size)))
              seen.push({ channel, bytes: [...bytes] });
            at += size;
          }
          // A frame's bytes may come in parts, and frames of one channel beside each other are alike.
          const flat = (parts: { channel: number; bytes: Iterable<number> }[]): string =>
            parts.flatMap(({ channel, bytes }) => [...bytes].map((b) => `${channel}:${b}`)).join();
          assert.equal(flat(seen), flat(frames));
          const empty = (parts: { channel: number; bytes: { length: number } }[]): number =>
            parts.filter(({ bytes }) => bytes.length === 0).length;
          assert.equal(empty(seen), empty(frames));
        },
      ),
    );
  });

  it('are no longer than the shim takes', () => {
    const bytes = Buffer.alloc((1 << 20) + 3, 7);
    const decoder = new FrameDecoder();
    const frames = encodeFrames(CHANNEL.stdin, bytes);
    assert.equal(frames.readUInt32LE(1), 64 * 1024);
    const parts = [...decoder.push(frames)].map((part) => part.bytes);
    assert.deepEqual(Buffer.concat(parts), bytes);
  });

  it('carry sizes as two numbers of 16 bits', () => {
    assert.deepEqual([...encodeSize({ rows: 0x0102, columns: 0x0304 })], [2, 1, 4, 3]);
    assert.deepEqual([...encodeSize({ rows: -1, columns: 70000 })], [0, 0, 255, 255]);
  });
});
