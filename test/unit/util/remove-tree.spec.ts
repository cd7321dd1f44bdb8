import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { removeTree } from '../../../src/util/remove-tree.js';
import { makeTempFolder } from '../../support/temp.js';

describe('removeTree', () => {
  it('removes what is deeper than a path can say, and nothing beside', async () => {
    const temp = makeTempFolder();
    const tree = join(temp, 'tree');
    const kept = join(temp, 'kept');
    mkdirSync(tree);
    writeFileSync(kept, '');
    symlinkSync(kept, join(tree, 'link'));
    const before = process.cwd();
    try {
      process.chdir(tree);
      for (let i = 0; i < 3000; i += 1) {
        mkdirSync('deep');
        process.chdir('deep');
      }
      writeFileSync('file', '');
    } finally {
      process.chdir(before);
    }
    mkdirSync(join(tree, 'closed'));
    chmodSync(join(tree, 'closed'), 0);
    await removeTree(tree);
    assert.deepEqual(readdirSync(temp), ['kept']);
    await removeTree(tree);
    await removeTree(temp);
    assert.equal(existsSync(temp), false);
  });
});
