/** One event is one line, whatever is in it, and no secret is in it. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatLine } from '../../../src/observe/log-line.js';

const line = (fields: object, msg = 'm', level = 30) =>
  formatLine(JSON.stringify({ level, time: 0, msg, fields }), 'journal');

describe('formatLine', () => {
  it('puts the priority of sd-daemon before the message', () => {
    const priorities = [10, 20, 30, 40, 50, 60].map((level) => line({}, 'm', level));
    assert.deepEqual(priorities, ['<7>m\n', '<7>m\n', '<6>m\n', '<4>m\n', '<3>m\n', '<2>m\n']);
  });

  it('puts time and level before it elsewhere', () => {
    assert.equal(
      formatLine('{"level":40,"time":0,"msg":"m","fields":{"a":"b c"}}', 'text'),
      '1970-01-01T00:00:00.000Z WARN  m a="b c"\n',
    );
  });

  it('quotes what is not a plain word and flattens tables', () => {
    assert.equal(
      line({
        id: 'ab12',
        n: 5,
        yes: true,
        none: null,
        text: 'a "b"\\\n',
        err: { message: 'x y', k: 1 },
      }),
      '<6>m id=ab12 n=5 yes=true none=null text="a \\"b\\"\\\\\\n" err="x y" err.k=1\n',
    );
  });

  it('takes out secrets by name at any depth, and by form in any text', () => {
    const output = line(
      {
        auth: 'S1',
        password: 'S2',
        request: { identityToken: 'S3', nested: { registryToken: 'S4', auth: 'S5' } },
        list: [{ Authorization: 'S6', deep: [{ password: 'S7' }] }, 'Bearer S8S8S8S8S8'],
        url: 'https://user:S9@registry/v2',
        author: 'kept',
      },
      'GET http://u:S10@h/ with Basic UzExUzExUzEx',
    );
    assert.doesNotMatch(output, /S\d|UzEx/);
    assert.match(output, /author=kept/);
    assert.match(output, /https:\/\/\[redacted\]@registry/);
  });

  it('is one line without control characters that fits journald, for anything', () => {
    const text = fc.string({ unit: 'binary', maxLength: 30 });
    fc.assert(
      fc.property(
        fc.dictionary(text, fc.oneof(text, fc.jsonValue({ maxDepth: 2 }))),
        text,
        (fields, msg) => {
          const output = line(fields, msg);
          assert.match(output, /^<6>[^\u0000-\u001f\u007f-\u009f\u2028-\u202e]*\n$/);
        },
      ),
    );
    const huge = line({
      a: '\u{20ac}'.repeat(100_000),
      b: 'x'.repeat(100_000),
      c: '"'.repeat(9000),
    });
    assert.ok(Buffer.byteLength(huge) <= 48 * 1024);
  });
});
