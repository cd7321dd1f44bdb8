import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseImageUser } from '../../../src/core/image-user.js';

describe('parseImageUser', () => {
  it('reads ids and names', () => {
    for (const [text, expected] of [
      ['', { kind: 'id', uid: 0 }],
      ['0', { kind: 'id', uid: 0 }],
      ['0:0', { kind: 'id', uid: 0, gid: 0 }],
      ['1000', { kind: 'id', uid: 1000 }],
      ['2147483647:5', { kind: 'id', uid: 2_147_483_647, gid: 5 }],
      ['nginx', { kind: 'name', name: 'nginx' }],
      ['_apt:nogroup', { kind: 'name', name: '_apt', group: 'nogroup' }],
      ['www-data:33', { kind: 'name', name: 'www-data', gid: 33 }],
      ['12:staff', { kind: 'id', uid: 12, group: 'staff' }],
    ] as const) {
      assert.deepEqual(parseImageUser(text), expected);
    }
  });

  for (const text of [
    '4294967296',
    '4294967295',
    '2147483648',
    '99999999999999999999',
    '-1',
    '0x0',
    '+0',
    '00',
    '007',
    '1e3',
    '1.0',
    ' 0',
    '0 ',
    '0\n',
    'a\nb',
    'a\0',
    ':',
    ':0',
    '0:',
    'a:',
    '0:0:0',
    '0:-1',
    'a:4294967296',
    '٠',
    'root ',
    '../x',
    'a/b',
    'x'.repeat(300),
  ]) {
    it(`refuses ${JSON.stringify(text.slice(0, 30))}`, () => {
      assert.throws(() => parseImageUser(text), {
        kind: 'invalid-argument',
        message: /is neither a name nor a decimal number up to 2147483647/,
      });
    });
  }

  it('gives root to nothing but 0 and the empty user', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[-+0-9a-fx:. ]{1,12}$/), (text) => {
        try {
          const user = parseImageUser(text);
          if (user.kind === 'id' && user.uid === 0) assert.match(text, /^0(:|$)/);
        } catch (error) {
          assert.equal((error as { kind?: string }).kind, 'invalid-argument');
        }
      }),
    );
  });
});
