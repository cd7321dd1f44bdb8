import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseImageReference } from '../../../src/core/image-reference.js';
import { identityFault, parseIdentityRule } from '../../../src/core/signed-identity.js';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const OTHER = `sha256:${'b'.repeat(64)}`;

function accepts(rule: object | undefined, signed: string, image: string | null): boolean {
  const parsed = parseIdentityRule(rule, 'signedIdentity');
  const reference = image === null ? null : parseImageReference(image);
  return identityFault(parsed, signed, reference) === null;
}

describe('signed identity', () => {
  // Rows of the table in containers/image, signature/policy_reference_match_test.go, and more.
  const cases: [
    rule: object | undefined,
    signed: string,
    image: string | null,
    expected: boolean,
  ][] = [
    [undefined, 'r.io/a/b:1', 'r.io/a/b:1', true],
    [undefined, 'r.io/a/b', 'r.io/a/b:1', false],
    [undefined, 'r.io/a/b:2', 'r.io/a/b:1', false],
    [undefined, 'r.io/a/b:1', `r.io/a/b@${DIGEST}`, true],
    [undefined, 'r.io/a/b', `r.io/a/b@${DIGEST}`, true],
    [undefined, `r.io/a/b@${OTHER}`, `r.io/a/b@${DIGEST}`, true],
    [undefined, 'r.io/a/c', `r.io/a/b@${DIGEST}`, false],
    [undefined, 'busybox:latest', 'docker.io/library/busybox', true],
    [undefined, 'index.docker.io/library/busybox:latest', 'busybox', true],
    [undefined, '', 'r.io/a/b:1', false],
    [undefined, 'UPPER/x:1', 'r.io/a/b:1', false],
    [{ type: 'matchExact' }, 'r.io/a/b:1', 'r.io/a/b:1', true],
    [{ type: 'matchExact' }, 'r.io/a/b', 'r.io/a/b:latest', false],
    [{ type: 'matchExact' }, 'r.io/a/b:1', `r.io/a/b@${DIGEST}`, false],
    [{ type: 'matchExact' }, `r.io/a/b@${DIGEST}`, `r.io/a/b@${DIGEST}`, true],
    [{ type: 'matchRepository' }, 'r.io/a/b', 'r.io/a/b:1', true],
    [{ type: 'matchRepository' }, `r.io/a/b:9@${OTHER}`, 'r.io/a/b:1', true],
    [{ type: 'matchRepository' }, 'r.io/a/b/c', 'r.io/a/b:1', false],
    [{ type: 'matchRepository' }, 'r.io:80/a/b', 'r.io/a/b:1', false],
    [{ type: 'exactReference', dockerReference: 'r.io/a/b:1' }, 'r.io/a/b:1', 'x.io/y', true],
    [{ type: 'exactReference', dockerReference: 'r.io/a/b:1' }, 'r.io/a/b:1', null, true],
    [{ type: 'exactReference', dockerReference: 'r.io/a/b:1' }, 'r.io/a/b', 'r.io/a/b:1', false],
    [{ type: 'exactRepository', dockerRepository: 'r.io/a/b' }, 'r.io/a/b:7', null, true],
    [{ type: 'exactRepository', dockerRepository: 'r.io/a/b' }, 'r.io/a/c:7', 'r.io/a/c:7', false],
    [{ type: 'matchRepository' }, 'r.io/a/b', null, false],
    [undefined, 'r.io/a/b:1', null, false],
  ];

  it('is compared as containers/image does', () => {
    for (const [rule, signed, image, expected] of cases) {
      const what = JSON.stringify([rule ?? 'default', signed, image]);
      assert.equal(accepts(rule, signed, image), expected, what);
    }
  });

  it('is wanted by all but matchDigest', () => {
    const image = parseImageReference('r.io/a/b:1');
    for (const [rule] of cases) {
      const parsed = parseIdentityRule(rule, 'signedIdentity');
      assert.match(identityFault(parsed, null, image) ?? '', /names no image/);
    }
    const any = parseIdentityRule({ type: 'matchDigest' }, 'signedIdentity');
    for (const signed of [null, '', 'x.io/y:1'])
      assert.equal(identityFault(any, signed, image), null);
    assert.equal(identityFault(any, null, null), null);
    assert.throws(
      () => parseIdentityRule({ type: 'matchDigest', prefix: 'r.io' }, 'signedIdentity'),
      /unknown key "prefix"/,
    );
  });

  it('is remapped below the prefix alone', () => {
    const remap = (prefix: string, signedPrefix: string) => ({
      type: 'remapIdentity',
      prefix,
      signedPrefix,
    });
    assert(accepts(remap('m.io/x', 'r.io'), 'r.io/a/b:1', 'm.io/x/a/b:1'));
    assert(accepts(remap('m.io', 'r.io/deep'), 'r.io/deep/a:1', 'm.io/a:1'));
    assert(accepts(remap('m.io/a/b', 'r.io/c'), 'r.io/c:1', 'm.io/a/b:1'));
    assert(!accepts(remap('m.io/x', 'r.io'), 'r.io/a:1', 'm.io/xa:1'));
    assert(!accepts(remap('m.io', 'r.io'), 'm.io/a:1', 'm.io/a:1'));
    assert(accepts(remap('m.io', 'r.io'), 'other.io/a:1', 'other.io/a:1'));
    assert(!accepts(remap('m.io', 'r.io'), 'r.io/a', 'm.io/a:1'));
  });

  it('never accepts another repository, whatever stands in the signature', () => {
    const rules = [undefined, { type: 'matchExact' }, { type: 'matchRepository' }];
    fc.assert(
      fc.property(fc.constantFrom(...rules), fc.string(), (rule, signed) => {
        const isOurs = /^r\.io\/a\/b(?![a-z0-9/._-])/.test(signed);
        if (!isOurs) assert(!accepts(rule, signed, 'r.io/a/b:1'), signed);
      }),
    );
  });
});
