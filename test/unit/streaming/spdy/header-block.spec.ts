/** Blocks of headers: one zlib stream, read in parts, and nothing that makes it big. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { constants, createInflate, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { RuntimeError } from '../../../../src/core/errors.js';
import { DICTIONARY, DICTIONARY_ID } from '../../../../src/streaming/spdy/dictionary.js';
import { HeaderReader, replyBlock } from '../../../../src/streaming/spdy/header-block.js';
import { ClientBlocks, u32 } from '../../../support/spdy-blocks.js';

describe('SPDY headers', () => {
  it('know the dictionary of the draft', () => {
    assert.equal(DICTIONARY.length, 1423);
    // A zlib stream names its dictionary by its checksum.
    const stream = deflateSync('', { dictionary: DICTIONARY });
    assert.equal(stream.readUInt32BE(2), DICTIONARY_ID);
  });

  it('are read block by block, referring to all before', async () => {
    const name = fc.stringMatching(/^[a-z-]{1,20}$/);
    const headers = fc.dictionary(name, fc.stringMatching(/^[ -~]{0,2000}$/), { maxKeys: 8 });
    await fc.assert(
      fc.asyncProperty(fc.array(headers, { minLength: 1, maxLength: 30 }), async (blocks) => {
        const client = new ClientBlocks();
        const reader = new HeaderReader();
        for (const each of blocks) {
          const read = reader.read(await client.headers(each));
          assert.deepEqual([...read], Object.entries(each));
        }
        client.close();
      }),
      { numRuns: 50 },
    );
  });

  it('are read over far more than the window of deflate', async () => {
    const client = new ClientBlocks();
    const reader = new HeaderReader();
    // Each comes back once it is almost out of reach.
    const values = Array.from({ length: 7 }, () => randomBytes(2200).toString('hex'));
    for (let i = 0; i < 100; i++) {
      const value = values[i % values.length] ?? '';
      assert.equal(reader.read(await client.headers({ value })).get('value'), value);
    }
    client.close();
  });

  it('keep the first of several values', async () => {
    const client = new ClientBlocks();
    const read = new HeaderReader().read(await client.headers({ port: '80\u000081' }));
    assert.equal(read.get('port'), '80');
    client.close();
  });

  it('are refused when they are malformed', async () => {
    const text = (value: string): Buffer => Buffer.concat([u32(value.length), Buffer.from(value)]);
    for (const [plain, why] of [
      [Buffer.alloc(3), /end early/],
      [u32(1), /end early/],
      [Buffer.concat([u32(1), u32(0xffffffff), Buffer.from('x')]), /end early/],
      [Buffer.concat([u32(0xffffffff), text('a'), text('b')]), /end early/],
      [Buffer.concat([u32(1), text(''), text('x')]), /empty/],
      [Buffer.concat([u32(1), text('Port'), text('x')]), /lower case/],
      [Buffer.concat([u32(2), text('a'), text('x'), text('a'), text('y')]), /twice/],
      [Buffer.concat([u32(0), Buffer.from('x')]), /behind/],
    ] as const) {
      const client = new ClientBlocks();
      const block = await client.deflate(plain);
      assert.throws(() => new HeaderReader().read(block), why);
      client.close();
    }
  });

  it('are refused when they become big', async () => {
    const client = new ClientBlocks();
    const bomb = await client.deflate(Buffer.alloc(4 << 20));
    assert.ok(bomb.length < 16 * 1024);
    assert.throws(() => new HeaderReader().read(bomb), /malformed SPDY: headers: /);
    client.close();
  });

  it('are refused when they are no zlib, or of another dictionary', () => {
    for (const block of [
      Buffer.alloc(0),
      Buffer.from('hello world'),
      deflateSync(u32(0)),
      deflateSync(u32(0), { dictionary: Buffer.from('another') }),
    ]) {
      assert.throws(() => new HeaderReader().read(block), /malformed SPDY/);
    }
  });

  it('are read or refused, whatever comes', async () => {
    const client = new ClientBlocks();
    const first = await client.headers({ streamtype: 'error' });
    client.close();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const reader = new HeaderReader();
        reader.read(first);
        try {
          reader.read(Buffer.from(bytes));
        } catch (error) {
          assert.ok(error instanceof RuntimeError && error.kind === 'invalid-argument');
        }
      }),
      { numRuns: 500 },
    );
  });

  it('of replies are one zlib stream too', async () => {
    const inflate = createInflate({ dictionary: DICTIONARY });
    const plain: Buffer[] = [];
    inflate.on('data', (part: Buffer) => plain.push(part));
    for (const first of [true, false, false]) {
      inflate.write(replyBlock(first));
      await new Promise<void>((resolve) => {
        inflate.flush(constants.Z_SYNC_FLUSH, resolve);
      });
    }
    assert.deepEqual(Buffer.concat(plain), Buffer.alloc(12));
    inflate.close();
  });
});
