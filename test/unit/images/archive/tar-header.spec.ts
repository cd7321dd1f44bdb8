/** What we write of tar archives is what we and tar(1) read. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { TAR_END, tarHeader, tarPadding } from '../../../../src/images/archive/tar-header.js';
import { indexTar } from '../../../../src/images/archive/tar-index.js';
import { withTempFolder } from '../../../support/temp.js';

const name = fc.stringMatching(/^[a-z0-9][a-z0-9/._-]{0,98}[a-z0-9]$/);

describe('a tar archive', () => {
  it('has every member where its index says', async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, 'a.tar');
      await fc.assert(
        fc.asyncProperty(
          fc.uniqueArray(fc.tuple(name, fc.uint8Array({ maxLength: 1500 })), {
            selector: ([first]) => first,
            maxLength: 5,
          }),
          async (members) => {
            const parts = members.flatMap(([called, content]) => [
              tarHeader(called, content.length),
              content,
              tarPadding(content.length),
            ]);
            const archive = Buffer.concat([...parts, TAR_END]);
            await writeFile(path, archive);
            const file = await open(path);
            const index = await indexTar(file, path).finally(() => file.close());
            for (const [called, content] of members) {
              const { offset, size } = index.get(called)!;
              assert.ok(archive.subarray(offset, offset + size).equals(content));
            }
            assert.equal(index.size, members.length);
          },
        ),
        { numRuns: 50 },
      );
    });
  });

  it('may have a member of more than 8 GiB', async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, 'big.tar');
      const size = 8 * 2 ** 30;
      await writeFile(path, tarHeader('big', size));
      // A hole: it takes no room.
      await truncate(path, 512 + size + 1024);
      const listed = execFileSync('tar', ['-tvf', path], { encoding: 'utf8' });
      assert.match(listed, /^-rw-r--r-- 0\/0 +8589934592 1970-01-01 .* big$/m);
      const file = await open(path);
      const index = await indexTar(file, path).finally(() => file.close());
      assert.deepEqual(index.get('big'), { offset: 512, size });
    });
  });

  it('refuses names that do not fit', () => {
    for (const wrong of ['', 'a'.repeat(101), 'ä', 'a\0'])
      assert.throws(() => tarHeader(wrong, 0), TypeError);
  });
});
