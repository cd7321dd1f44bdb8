/** Reading CRI log lines: any bytes, any chunking, partial lines of interleaved streams. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  LogJoiner,
  LogReader,
  MAX_LOG_LINE_BYTES,
  logTimestampNanos,
  parseLogLine,
} from '../../../src/core/cri-log.js';
import type { LogStream } from '../../../src/core/cri-log.js';

const TIME = '2026-11-23T14:03:59.123456789Z';
const line = (text: string): Uint8Array => Buffer.from(text, 'latin1');

describe('parseLogLine', () => {
  it('reads a full line', () => {
    const entry = parseLogLine(line(`${TIME} stdout F hello  world `));
    assert.ok(entry);
    assert.deepEqual(
      { ...entry, text: Buffer.from(entry.text).toString() },
      { timestamp: TIME, stream: 'stdout', partial: false, text: 'hello  world ' },
    );
  });

  it('reads partial lines, further tags and an empty text', () => {
    assert.equal(parseLogLine(line(`${TIME} stderr P half`))?.partial, true);
    assert.equal(parseLogLine(line(`${TIME} stderr P:x:y half`))?.partial, true);
    assert.equal(parseLogLine(line(`${TIME} stdout F `))?.text.length, 0);
    assert.equal(parseLogLine(line(`${TIME} stdout F`))?.text.length, 0);
    assert.ok(parseLogLine(line('2026-11-23T14:03:59+02:00 stdout F x')));
  });

  it('refuses what is no log line', () => {
    for (const bad of [
      '',
      'hello',
      `${TIME} stdout`,
      `${TIME} stdin F x`,
      `${TIME} stdout X x`,
      `${TIME}  stdout F x`,
      'yesterday stdout F x',
      '{"log":"x\\n","stream":"stdout"}',
    ]) {
      assert.equal(parseLogLine(line(bad)), undefined, bad);
    }
  });
});

describe('logTimestampNanos', () => {
  it('keeps every nanosecond', () => {
    assert.equal(logTimestampNanos('1970-01-01T00:00:01.000000001Z'), 1_000_000_001n);
    assert.equal(logTimestampNanos('1970-01-01T00:00:01.5Z'), 1_500_000_000n);
    assert.equal(logTimestampNanos('1970-01-01T01:00:00+01:00'), 0n);
    assert.equal(logTimestampNanos(TIME), BigInt(Date.parse(TIME)) * 1_000_000n + 456_789n);
  });
});

describe('LogReader and LogJoiner', () => {
  const text = fc.uint8Array({ maxLength: 40 }).map((bytes) => bytes.filter((byte) => byte !== 10));
  const write = fc.record({
    stream: fc.constantFrom<LogStream>('stdout', 'stderr'),
    partial: fc.boolean(),
    text,
  });

  it('give back what was written, for every text and every chunking', () => {
    fc.assert(
      fc.property(fc.array(write), fc.array(fc.nat(30)), (writes, cuts) => {
        const file = Buffer.concat(
          writes.flatMap(({ stream, partial, text: written }) => [
            Buffer.from(`${TIME} ${stream} ${partial ? 'P' : 'F'} `),
            Buffer.from(written),
            Buffer.from('\n'),
          ]),
        );
        const reader = new LogReader();
        const joiner = new LogJoiner();
        const got: Record<LogStream, Uint8Array[]> = { stdout: [], stderr: [] };
        let rest = file;
        for (const cut of [...cuts, file.length]) {
          // A reader must not keep a view of the chunk: its memory is reused between reads. A Buffer,
          // as files are read into, whose slice() is such a view.
          const chunk = Buffer.from(rest.subarray(0, cut));
          rest = rest.subarray(cut);
          for (const entry of reader.push(chunk)) {
            got[entry.stream].push(Uint8Array.from(joiner.render(entry)));
          }
          chunk.fill(0xff);
        }
        for (const entry of reader.end()) got[entry.stream].push(joiner.render(entry));
        assert.equal(reader.malformed, 0);
        for (const stream of ['stdout', 'stderr'] as const) {
          const expected = writes
            .filter((entry) => entry.stream === stream)
            .flatMap((entry) => [Buffer.from(entry.text), Buffer.from(entry.partial ? '' : '\n')]);
          assert.deepEqual(Buffer.concat(got[stream]), Buffer.concat(expected));
        }
      }),
    );
  });

  it('never throw on arbitrary bytes, and count what they skip', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), (chunks) => {
        const reader = new LogReader();
        let entries = 0;
        for (const chunk of chunks) entries += reader.push(chunk).length;
        entries += reader.end().length;
        const all = Buffer.concat(chunks);
        const newlines = all.filter((byte) => byte === 10).length;
        const last = all.length > 0 && all.at(-1) !== 10 ? 1 : 0;
        assert.equal(entries + reader.malformed, newlines + last);
      }),
    );
  });

  it('prefix a line once, at its start', () => {
    const joiner = new LogJoiner();
    const reader = new LogReader();
    const entries = reader.push(
      line(`${TIME} stdout P a\n${TIME} stderr F e\n${TIME} stdout F b\n${TIME} stdout F c\n`),
    );
    const out = entries.map((entry) => Buffer.from(joiner.render(entry, 't ')).toString());
    assert.deepEqual(out, ['t a', 't e\n', 'b\n', 't c\n']);
  });

  it('drop a line that never ends instead of holding it', () => {
    const reader = new LogReader();
    reader.push(new Uint8Array(MAX_LOG_LINE_BYTES + 1).fill(65));
    assert.equal(reader.malformed, 1);
    assert.equal(reader.push(line(`\n${TIME} stdout F after\n`)).length, 1);
  });
});
