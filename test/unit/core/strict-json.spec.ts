import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseStrictJson } from '../../../src/core/strict-json.js';

const parse = (text: string | Buffer): unknown =>
  parseStrictJson(Buffer.from(text), 'document', 1 << 20);

describe('parseStrictJson', () => {
  it('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.nat(4), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent);
        assert.deepEqual(parse(text), JSON.parse(text));
      }),
    );
  });

  it('refuses a key that is there twice, however it is spelled', () => {
    for (const text of [
      '{"a":1,"a":2}',
      '{"a":1,"\\u0061":2}',
      '[{"x":{"b":1, "c":{}, "b" :2}}]',
      '{"__proto__":1,"__proto__":2}',
      '{"a":{"a":1},"b":"a","a"\n\t:3}',
    ]) {
      assert.throws(() => parse(text), { kind: 'invalid-argument', message: /has key ".*" twice/ });
    }
  });

  it('lets the same key be in two objects, and strings look like keys', () => {
    const text = '{"a":[{"a":1},{"a":2}],"b":{"a":"a"},"c":["a","a",":"],"d":"\\"a\\":"}';
    assert.deepEqual(parse(text), JSON.parse(text));
  });

  it('refuses what is too deep, too large, no UTF-8, no JSON', () => {
    const refused = (text: string | Buffer, message: RegExp): void => {
      assert.throws(() => parse(text), { kind: 'invalid-argument', message });
    };
    refused('['.repeat(100_000) + ']'.repeat(100_000), /nested deeper than 64 levels/);
    refused('{"a":'.repeat(65) + '1' + '}'.repeat(65), /nested deeper/);
    refused(`"${' '.repeat(1 << 20)}"`, /larger than 1048576 bytes/);
    refused(Buffer.from([0x22, 0xff, 0x22]), /is not UTF-8/);
    refused('{"a":1', /is not JSON/);
    refused('', /is not JSON/);
    refused('\ufeff{}', /is not JSON/);
  });

  it('keeps __proto__ a plain key', () => {
    const value = parse('{"__proto__":{"polluted":true}}') as object;
    assert.equal(Object.getPrototypeOf(value), Object.prototype);
    assert.equal((value as { polluted?: boolean }).polluted, undefined);
  });
});
