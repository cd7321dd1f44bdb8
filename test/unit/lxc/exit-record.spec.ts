/** Exit records: read as the shim writes them, refused when damaged. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { RuntimeError } from '../../../src/core/errors.js';
import { parseExitRecord, readExitRecord } from '../../../src/lxc/exit-record.js';
import { withTempFolder } from '../../support/temp.js';

const TEXT =
  'version 1\ncode 137\nsignal 9\nstarted 1795444411490215153\nfinished 1795444411497404032\noom 1\nmessage why: it is so\n';

describe('exit record', () => {
  it('is read whole', () => {
    assert.deepEqual(parseExitRecord(TEXT, 'p'), {
      exitCode: 137,
      signal: 9,
      startedAt: 1795444411490215153n,
      finishedAt: 1795444411497404032n,
      oomKilled: true,
      message: 'why: it is so',
    });
    assert.equal(parseExitRecord(TEXT.replace(/message.*/, 'message '), 'p').message, '');
  });

  it('is refused without one of its fields, or of another version', () => {
    for (const key of ['version', 'code', 'signal', 'started', 'finished', 'oom'])
      assert.throws(() => parseExitRecord(TEXT.replace(key, `no${key}`), '/x/exit'), {
        kind: 'data-loss',
        message: `exit record /x/exit has no valid field "${key}"`,
      });
    assert.throws(() => parseExitRecord(TEXT.replace('version 1', 'version 2'), 'p'), {
      kind: 'data-loss',
    });
  });

  it('never yields half a record from foreign bytes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.throws(() => parseExitRecord(text, 'p'), RuntimeError);
      }),
    );
  });

  it('may be missing', async () => {
    await withTempFolder(async (folder) => {
      assert.equal(await readExitRecord(folder), undefined);
      writeFileSync(join(folder, 'exit'), TEXT);
      assert.equal((await readExitRecord(folder))?.exitCode, 137);
    });
  });
});
