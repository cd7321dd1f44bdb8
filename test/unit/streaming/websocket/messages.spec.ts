import assert from 'node:assert/strict';
import fc from 'fast-check';
import { BASE64, BINARY } from '../../../../src/streaming/websocket/messages.js';

describe('channel messages', () => {
  it('carry any bytes on any channel', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 9 }), fc.uint8Array(), (channel, bytes) => {
        for (const format of [BINARY, BASE64]) {
          const message = Buffer.from(format.encode(channel, bytes));
          assert.deepEqual(format.decode(message), { channel, bytes: Buffer.from(bytes) });
        }
      }),
    );
  });

  it('are as clients have them', () => {
    assert.deepEqual(BINARY.encode(1, Buffer.from('hi')), Buffer.from('\x01hi'));
    assert.equal(BASE64.encode(1, Buffer.from('hi')), '1aGk=');
    assert.deepEqual(BASE64.encode(1, Buffer.alloc(0)), '1');
  });

  it('of anything at all belong to a channel or to none', () => {
    assert.equal(BINARY.decode(Buffer.alloc(0)), null);
    assert.equal(BASE64.decode(Buffer.alloc(0)), null);
    assert.equal(BASE64.decode(Buffer.from('x')), null);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), (bytes) => {
        assert.equal(BINARY.decode(Buffer.from(bytes))?.bytes.length, bytes.length - 1);
        const decoded = BASE64.decode(Buffer.from(bytes));
        assert.ok(decoded === null || decoded.channel <= 9);
      }),
    );
  });
});
