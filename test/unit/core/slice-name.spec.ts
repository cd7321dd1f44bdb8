import assert from 'node:assert/strict';
import fc from 'fast-check';
import { RuntimeError } from '../../../src/core/errors.js';
import { slicePath } from '../../../src/core/slice-name.js';

describe('slicePath', () => {
  it('nests by dashes, as the kubelet counts on', () => {
    assert.equal(
      slicePath('kubepods-burstable-pod0a_1.slice'),
      '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a_1.slice',
    );
    assert.equal(slicePath('pvecri.slice'), '/pvecri.slice');
    assert.equal(slicePath('a\\x2db.slice'), '/a\\x2db.slice');
  });

  for (const [name, why] of [
    ['', /end in \.slice/],
    ['a', /end in \.slice/],
    ['a.slice/b.slice', /letters/],
    ['/a.slice', /letters/],
    ['../a.slice', /letters/],
    ['a..b.slice', /"\.\."/],
    ['..slice', /systemd would escape/],
    ['.slice', /letters/],
    ['-.slice', /root slice/],
    ['-a.slice', /dash/],
    ['a-.slice', /dash/],
    ['a--b.slice', /dash/],
    ['a@b.slice', /letters/],
    ['a b.slice', /letters/],
    ['a\n.slice', /letters/],
    ['a\0.slice', /letters/],
    ['ä.slice', /letters/],
    ['_a.slice', /systemd would escape/],
    ['cpu.slice', /systemd would escape/],
    ['memory.x-a.slice', /systemd would escape/],
    [`${'a'.repeat(250)}.slice`, /longer/],
    [`${'a-'.repeat(100)}a.slice`, /nested too deeply/],
  ] as const) {
    it(`refuses ${JSON.stringify(name.slice(0, 30))}`, () => {
      assert.throws(
        () => slicePath(name),
        (error) =>
          error instanceof RuntimeError &&
          error.kind === 'invalid-argument' &&
          why.test(error.message),
      );
    });
  }

  it('gives, for any text, a path of names that each extend the one before, or a refusal', () => {
    const word = fc.string({
      unit: fc.constantFrom('a', 'Z', '0', '9', ':', '_', '.', '\\', '-'),
      minLength: 1,
      maxLength: 12,
    });
    const words = fc.array(word, { minLength: 1, maxLength: 40 });
    const name = fc.oneof(
      fc.string(),
      words.map((w) => `${w.join('-')}.slice`),
    );
    fc.assert(
      fc.property(name, (text) => {
        let path: string;
        try {
          path = slicePath(text);
        } catch (error) {
          assert.ok(error instanceof RuntimeError && error.kind === 'invalid-argument');
          return;
        }
        const parts = path.slice(1).split('/');
        assert.equal(parts.at(-1), text);
        assert.ok(path.length <= 2048 && text.length <= 255);
        parts.forEach((part, at) => {
          assert.match(part, /^[A-Za-z0-9:\\][A-Za-z0-9:_.\\-]*\.slice$/);
          if (at > 0) {
            assert.ok(part.startsWith(`${(parts[at - 1] ?? '').slice(0, -'.slice'.length)}-`));
          }
        });
      }),
    );
  });
});
