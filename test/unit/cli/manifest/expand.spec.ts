/** `$(NAME)` expansion, with the cases of Kubernetes' own tests. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { expandVariables } from '../../../../src/cli/manifest/expand.js';

const variables = new Map([
  ['VAR_A', 'A'],
  ['VAR_B', 'B'],
  ['VAR_REF', '$(VAR_A)'],
  ['VAR_EMPTY', ''],
]);

describe('expandVariables', () => {
  const cases: [string, string][] = [
    ['$(VAR_A)', 'A'],
    ['___$(VAR_B)___', '___B___'],
    ['$(VAR_A)_$(VAR_B)', 'A_B'],
    // A value is not expanded again.
    ['$(VAR_REF)', '$(VAR_A)'],
    ['$(VAR_DNE)', '$(VAR_DNE)'],
    ['foo$(VAR_EMPTY)bar', 'foobar'],
    ['$$(VAR_A)', '$(VAR_A)'],
    ['$$$(VAR_A)', '$A'],
    ['$$$$(VAR_A)', '$$(VAR_A)'],
    ['foo\\$(VAR_A)bar', 'foo\\Abar'],
    ['$VAR_A', '$VAR_A'],
    ['$VAR_A$(VAR_B)', '$VAR_AB'],
    ['$(VAR_A', '$(VAR_A'],
    ['$(', '$('],
    ['$', '$'],
    ['$()', '$()'],
    ['$($(VAR_A))', '$($(VAR_A))'],
    ['$?_boo_$!', '$?_boo_$!'],
    ['$(A\nB)', '$(A\nB)'],
  ];
  for (const [text, expected] of cases) {
    it(`${JSON.stringify(text)} gives ${JSON.stringify(expected)}`, () => {
      assert.equal(expandVariables(text, variables), expected);
    });
  }

  it('gives back any text whose dollar signs are doubled', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('$', '(', ')', 'A', 'x') }), (text) => {
        const doubled = text.replaceAll('$', '$$$$');
        assert.equal(expandVariables(doubled, new Map([['A', 'value']])), text);
      }),
    );
  });
});
