import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { indexTar, type TarMember } from '../../../../src/images/archive/tar-index.js';
import { file, folder, makeTar } from '../../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../../support/temp.js';

describe('indexTar', () => {
  let temp: string;
  beforeEach(() => {
    temp = makeTempFolder();
  });
  afterEach(() => {
    removeTempFolder(temp);
  });

  async function index(bytes: Buffer): Promise<ReadonlyMap<string, TarMember>> {
    const path = join(temp, 'archive');
    writeFileSync(path, bytes);
    const handle = await open(path);
    try {
      return await indexTar(handle, path);
    } finally {
      await handle.close();
    }
  }

  it('finds every file of what tar writes, in each of its formats', async () => {
    const source = join(temp, 'source');
    const name = `blobs/sha256/${'c'.repeat(64)}`;
    mkdirSync(join(source, 'blobs/sha256'), { recursive: true });
    writeFileSync(join(source, 'index.json'), '{}');
    writeFileSync(join(source, name), 'content');
    writeFileSync(join(source, 'x'.repeat(200)), 'long');
    for (const format of ['gnu', 'pax', 'oldgnu']) {
      const tar = execFileSync('tar', ['-C', source, `--format=${format}`, '-cf', '-', '.']);
      const members = await index(tar);
      for (const [wanted, content] of [
        ['index.json', '{}'],
        [name, 'content'],
      ] as const) {
        const { offset, size } = members.get(wanted) ?? assert.fail(`${format} ${wanted}`);
        assert.equal(tar.toString('utf8', offset, offset + size), content);
      }
    }
  });

  it('takes the size from a pax header', async () => {
    const tar = makeTar([file('big', 'four', { size: 0, pax: { size: '4' } }), file('next', 'x')]);
    assert.equal((await index(tar)).get('big')?.size, 4);
    assert.ok((await index(tar)).has('next'));
  });

  it('refuses what is no archive, or claims more than there is', async () => {
    const message = /is no sound tar archive at byte/;
    const good = makeTar([folder('d/'), file('d/f', 'x'.repeat(2000))]);
    await assert.rejects(index(Buffer.from('x'.repeat(1024))), { message });
    await assert.rejects(index(good.subarray(0, 1200)), { message });
    await assert.rejects(index(makeTar([file('f', '', { size: 2 ** 40 })])), { message });
    await assert.rejects(index(execFileSync('gzip', ['-c'], { input: good })), { message });
    assert.equal((await index(Buffer.alloc(0))).size, 0);
  });

  it('never gives a part outside of the file', async () => {
    const good = makeTar([file('a', 'x'.repeat(600)), file('b', 'y', { pax: { comment: 'z' } })]);
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.nat(255), async (at, byte) => {
        const bytes = Buffer.from(good);
        bytes[at] = byte;
        try {
          for (const { offset, size } of (await index(bytes)).values()) {
            assert.ok(offset >= 512 && size >= 0 && offset + size <= bytes.length);
          }
        } catch (error) {
          assert.equal((error as { kind?: string }).kind, 'invalid-argument');
        }
      }),
    );
  });
});
