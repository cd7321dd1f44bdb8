import assert from 'node:assert/strict';
import { posix } from 'node:path';
import fc from 'fast-check';
import { artifactFiles } from '../../../src/core/artifact.js';
import { RuntimeError } from '../../../src/core/errors.js';
import type { Descriptor } from '../../../src/core/oci.js';

const digest = `sha256:${'a'.repeat(64)}`;

function layer(title: string | null): Descriptor {
  return {
    ...{ mediaType: 'x/y', digest, size: 1, platform: null },
    annotations: title === null ? [] : [['org.opencontainers.image.title', title]],
  };
}

function paths(...titles: (string | null)[]): string[] {
  return artifactFiles(titles.map(layer), 'artifact').map(({ path }) => path);
}

describe('files of an artifact', () => {
  it('are called as they were pushed, else by their digest', () => {
    assert.deepEqual(paths('a', 'b/c.bin', './d', null), [
      'a',
      'b/c.bin',
      'd',
      `sha256-${'a'.repeat(64)}`,
    ]);
  });

  it('may not lead out, hide each other, or be called like nothing', () => {
    for (const title of [
      '',
      '.',
      '..',
      '../a',
      'a/../b',
      '/a',
      'a/',
      'a//b',
      'a\nb',
      'x'.repeat(256),
      `${'x/'.repeat(600)}y`,
    ]) {
      assert.throws(() => paths(title), /which is no path of a file below a folder/, title);
    }
    assert.throws(() => paths('a', './a'), /has two files "a"/);
    assert.throws(() => paths('a/b', 'a'), /has "a" as a file and as a folder/);
    assert.throws(() => paths('a', 'a/b/c'), /has "a" as a file and as a folder/);
  });

  it('stay below their folder, whatever their names', () => {
    const part = fc.constantFrom('..', '.', '', 'a', 'b', '\0', '\n');
    const title = fc.oneof(
      fc.string(),
      fc.array(part).map((parts) => parts.join('/')),
    );
    fc.assert(
      fc.property(fc.array(title, { maxLength: 4 }), (titles) => {
        try {
          for (const path of paths(...titles)) {
            assert(posix.join('/folder', path).startsWith('/folder/'));
            assert.equal(posix.normalize(path), path);
          }
        } catch (error) {
          assert(error instanceof RuntimeError, String(error));
        }
      }),
    );
  });
});
