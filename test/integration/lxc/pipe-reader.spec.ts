/** What is kept of a command's output, and that the rest is read all the same. */
import assert from 'node:assert/strict';
import { createWriteStream, type WriteStream } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { PipeReader, SharedRoom } from '../../../src/lxc/pipe-reader.js';
import { loadAddon } from '../../../src/native/binding.js';

const KIB = 1024;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heapInUse(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

describe('the reader of a pipe', () => {
  const writers: WriteStream[] = [];

  afterEach(() => {
    for (const writer of writers.splice(0)) writer.destroy();
  });

  function reading(
    limit: number,
    shared?: SharedRoom,
  ): { reader: PipeReader; writer: WriteStream } {
    const { read, write } = loadAddon().pipe();
    const writer = createWriteStream('', { fd: write });
    writers.push(writer);
    return { reader: new PipeReader(read, limit, shared), writer };
  }

  const numbered = (bytes: number): Buffer =>
    Buffer.from(Array.from({ length: bytes }, (_, i) => i % 251));

  async function read(bytes: number, limit: number, shared?: SharedRoom): Promise<PipeReader> {
    const { reader, writer } = reading(limit, shared);
    writer.end(numbered(bytes));
    await reader.ended;
    return reader;
  }

  it('keeps what comes, to the byte, up to its limit', async () => {
    for (const [bytes, limit] of [
      [0, 100],
      [1, 100],
      [100, 100],
      [101, 100],
      [40 * KIB, 16 * KIB],
      [300 * KIB, 1 << 20],
      [300 * KIB, 200 * KIB + 7],
    ] as const) {
      const reader = await read(bytes, limit);
      const expected = numbered(bytes).subarray(0, limit);
      assert.equal(Buffer.compare(reader.content(), expected), 0, `${bytes} of ${limit}`);
      reader.close();
    }
  });

  it('keeps single bytes in no more memory than they need', async () => {
    const { reader, writer } = reading(1 << 20);
    const before = heapInUse();
    const one = Buffer.from('x');
    for (let i = 0; i < 20_000; i++) await new Promise((resolve) => writer.write(one, resolve));
    const more = heapInUse() - before;
    assert.ok(more < 1 << 20, `${more} bytes for 20,000`);
    writer.end();
    await reader.ended;
    assert.equal(reader.content().length, 20_000);
    reader.close();
  });

  it('keeps 16 KiB in any case, and more while there is room for all', async () => {
    const shared = new SharedRoom(200 * KIB);
    const first = await read(100 * KIB, 1 << 20, shared);
    assert.equal(first.content().length, 100 * KIB);
    const second = await read(100 * KIB, 1 << 20, shared);
    assert.ok(second.content().length >= 16 * KIB && second.content().length < 100 * KIB);
    const start = numbered(100 * KIB).subarray(0, second.content().length);
    assert.equal(Buffer.compare(second.content(), start), 0);
    first.close();
    first.close();
    second.close();
    const third = await read(100 * KIB, 1 << 20, shared);
    assert.equal(third.content().length, 100 * KIB);
    third.close();
    assert.ok(shared.take(200 * KIB));
    assert.ok(!shared.take(1));
  });
});
