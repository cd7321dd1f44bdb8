import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  formatImageReference,
  imageName,
  parseImageReference,
} from '../../../src/core/image-reference.js';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

describe('parseImageReference', () => {
  const full: Record<string, string> = {
    busybox: 'docker.io/library/busybox:latest',
    'busybox:1.36': 'docker.io/library/busybox:1.36',
    'team/app': 'docker.io/team/app:latest',
    'docker.io/busybox': 'docker.io/library/busybox:latest',
    'index.docker.io/team/app:x': 'docker.io/team/app:x',
    'localhost/app': 'localhost/app:latest',
    'localhost:5000/app:1': 'localhost:5000/app:1',
    'registry.k8s.io/pause:3.10': 'registry.k8s.io/pause:3.10',
    'a.b:443/c/d/e': 'a.b:443/c/d/e:latest',
    '[::1]:5000/app': '[::1]:5000/app:latest',
    'Example/app': 'Example/app:latest',
    'a__b/c-d.e_f': 'docker.io/a__b/c-d.e_f:latest',
    [`busybox@${digest}`]: `docker.io/library/busybox@${digest}`,
    [`busybox:1.36@${digest}`]: `docker.io/library/busybox@${digest}`,
    'busybox:A_b.c-D': 'docker.io/library/busybox:A_b.c-D',
  };
  for (const [short, expected] of Object.entries(full)) {
    it(`reads ${short.slice(0, 40)}`, () => {
      assert.equal(formatImageReference(parseImageReference(short)), expected);
    });
  }

  const malformed = [
    '',
    ':',
    '/',
    '@',
    'a:',
    'a@',
    'UPPER',
    'a/UPPER',
    'a//b',
    '/a',
    'a/',
    'a b',
    'a\n',
    'a\0',
    'a:b:c',
    'a..b/c',
    'a...b',
    '-a',
    'a-',
    'a:-b',
    'a:.b',
    `a:${'t'.repeat(129)}`,
    `a/${'b'.repeat(256)}`,
    `a@${digest.toUpperCase()}`,
    `a@${digest}0`,
    'a@sha256:abc',
    `a@sha512:${'0'.repeat(128)}`,
    `a@${digest}@${digest}`,
    'https://docker.io/a',
    '../a',
    'a.b:99999999/c',
    'a.b:/c',
  ];
  for (const text of malformed) {
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.throws(() => parseImageReference(text), {
        kind: 'invalid-argument',
        message: /^image reference ".*" is malformed: /s,
      });
    });
  }

  it('gives the same again for what it gave', () => {
    const component = fc.stringMatching(/^[a-z0-9]{1,8}((\.|_|__|-{1,2})[a-z0-9]{1,8}){0,2}$/);
    const registry = fc.constantFrom('', 'localhost/', 'x.y/', 'x:1/', '127.0.0.1:5000/');
    const end = fc.constantFrom('', ':t', ':1.2_3-x', `@${digest}`, `:t@${digest}`);
    fc.assert(
      fc.property(registry, fc.array(component, { minLength: 1, maxLength: 4 }), end, (r, c, e) => {
        // With a dot, the first of two is a host, for which an underscore is wrong.
        fc.pre(r !== '' || c[0]?.includes('.') === false);
        const once = parseImageReference(`${r}${c.join('/')}${e}`);
        assert.deepEqual(parseImageReference(formatImageReference(once)), once);
        assert.ok(formatImageReference(once).startsWith(imageName(once)));
      }),
    );
  });

  it('never throws anything but its own error', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        try {
          parseImageReference(text);
        } catch (error) {
          assert.equal((error as { kind?: string }).kind, 'invalid-argument');
        }
      }),
    );
  });
});
