/** The codec of SPDY against bytes that a real client sent, and against any bytes. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { RuntimeError } from '../../../../src/core/errors.js';
import {
  dataFrames,
  finFrame,
  FrameParser,
  goaway,
  ping,
  rstStream,
  synReply,
  type Frame,
} from '../../../../src/streaming/spdy/frames.js';
import { HeaderReader } from '../../../../src/streaming/spdy/header-block.js';
import { u32 } from '../../../support/spdy-blocks.js';
import { control } from '../../../support/spdy-client.js';

/** All that crictl 1.36 sent for `echo hello | crictl exec -i CONTAINER cat` behind its request's head. */
const CRICTL_EXEC = Buffer.from(
  '80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a680000' +
    '0000ffff800300010000001700000003000000000000c22e555c92929907000000ffff80030001000000190000' +
    '0005000000000000c22ac5565c92925f5a02000000ffff800300010000001500000007000000000000c229975a' +
    '5404000000ffff000000030000000668656c6c6f0a000000030100000080030003000000080000000500000005' +
    '800300030000000800000007000000058003000300000008000000010000000580030007000000080000000000' +
    '000000',
  'hex',
);

function parse(bytes: Buffer, ...cuts: number[]): Frame[] {
  const parser = new FrameParser();
  const borders = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b)];
  return [...borders, bytes.length]
    .slice(1)
    .flatMap((end, index) => [...parser.push(bytes.subarray(borders[index], end))]);
}

/** The same with pieces of data put together. */
function joined(frames: Frame[]): Frame[] {
  const all: Frame[] = [];
  for (const frame of frames) {
    const last = all.at(-1);
    if (frame.kind === 'data' && last?.kind === 'data' && last.streamId === frame.streamId) {
      const bytes = Buffer.concat([last.bytes, frame.bytes]);
      all.splice(-1, 1, { ...frame, bytes });
    } else all.push(frame);
  }
  return all;
}

const cuts = fc.array(fc.nat(), { maxLength: 40 });
const streamId = fc.integer({ min: 1, max: 0x7fffffff });

describe('SPDY frames', () => {
  it('are what a real client sends', () => {
    const reader = new HeaderReader();
    const said = parse(CRICTL_EXEC).map((frame) => {
      if (frame.kind === 'syn-stream') {
        return `${frame.streamId} ${[...reader.read(frame.block)].flat().join('=')}`;
      }
      return frame.kind === 'data'
        ? `${frame.streamId} ${frame.bytes.toString('latin1')}${frame.fin ? 'FIN' : ''}`
        : frame.kind;
    });
    assert.deepEqual(said, [
      '1 streamtype=error',
      '3 streamtype=stdin',
      '5 streamtype=stdout',
      '7 streamtype=stderr',
      '3 hello\n',
      '3 FIN',
      'rst-stream',
      'rst-stream',
      'rst-stream',
      'goaway',
    ]);
  });

  it('are the same wherever the network cuts them', () => {
    const whole = joined(parse(CRICTL_EXEC));
    fc.assert(
      fc.property(cuts, (at) => {
        assert.deepEqual(joined(parse(CRICTL_EXEC, ...at)), whole);
      }),
    );
  });

  it('carry back what was written', () => {
    const written = fc.oneof(
      fc.tuple(streamId, fc.uint8Array({ minLength: 1, maxLength: 300 })).map(([id, bytes]) => ({
        bytes: Buffer.concat(dataFrames(id, bytes)),
        frame: { kind: 'data', streamId: id, bytes: Buffer.from(bytes), fin: false },
      })),
      streamId.map((id) => ({
        bytes: finFrame(id),
        frame: { kind: 'data', streamId: id, bytes: Buffer.alloc(0), fin: true },
      })),
      streamId.map((id) => ({
        bytes: rstStream(id, 5),
        frame: { kind: 'rst-stream', streamId: id },
      })),
      fc.nat().map((id) => ({ bytes: ping(id), frame: { kind: 'ping', id } })),
      streamId.map((id) => ({ bytes: goaway(id, 0), frame: { kind: 'goaway' } })),
    );
    fc.assert(
      fc.property(fc.array(written), cuts, (all, at) => {
        const bytes = Buffer.concat(all.map((each) => each.bytes));
        assert.deepEqual(
          joined(parse(bytes, ...at)),
          joined(all.map(({ frame }) => frame as Frame)),
        );
      }),
    );
  });

  it('split what is longer than a frame can be', () => {
    const bytes = Buffer.alloc((1 << 24) + 5, 7);
    const [frame] = joined(parse(Buffer.concat(dataFrames(3, bytes))));
    assert.ok(frame?.kind === 'data');
    assert.ok(frame.bytes.equals(bytes));
  });

  it('are read or refused, whatever comes', () => {
    const start = fc.constantFrom(
      Buffer.alloc(0),
      ...[1, 2, 3, 4, 6, 7, 8, 9].map((type) => Buffer.from([0x80, 3, 0, type, 0, 0])),
    );
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 200 }), cuts, (head, tail, at) => {
        try {
          parse(Buffer.concat([head, tail]), ...at);
        } catch (error) {
          assert.ok(error instanceof RuntimeError && error.kind === 'invalid-argument');
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('that carry no data are kept no longer than they may be', () => {
    const parser = new FrameParser();
    const long = Buffer.from([0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]);
    assert.throws(() => [...parser.push(long)], /a control frame of 16777215 bytes/);
  });

  it('of another kind or version are skipped or refused', () => {
    const skipped = [
      control(4, 0, u32(1), u32(4), u32(100)), // SETTINGS
      control(5, 0), // NOOP
      control(9, 0, u32(1), u32(65536)), // WINDOW_UPDATE
      control(99, 0xff, Buffer.alloc(300)),
    ];
    assert.deepEqual(parse(Buffer.concat([...skipped, ping(7)])), [{ kind: 'ping', id: 7 }]);
    for (const [bytes, why] of [
      [Buffer.from('GET / HTTP/1.1\r\n\r\n'), undefined],
      [Buffer.from('8002000600000004' + '00000001', 'hex'), /version 2/],
      [synReply(1, Buffer.alloc(4)), /a reply to a stream/],
      [control(1, 0, u32(1)), /of type 1 has 4 bytes/],
      [control(1, 0, Buffer.alloc(10)), /for stream 0/],
      [control(3, 0, u32(1)), /of type 3 has 4 bytes/],
      [control(6, 0), /of type 6 has 0 bytes/],
      [Buffer.alloc(8), /data of stream 0/],
    ] as const) {
      // A request of HTTP looks like the start of a long data frame.
      if (why === undefined) assert.equal(parse(bytes)[0]?.kind, 'data');
      else assert.throws(() => parse(bytes), why);
    }
  });
});
