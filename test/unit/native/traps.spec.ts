/** native/traps.md names tests: each of them is there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const FOLDERS: Readonly<Record<string, string>> = {
  L: 'test/integration/lxc',
  I: 'test/integration',
  U: 'test/unit',
};

describe('native/traps.md', () => {
  const rows = readFileSync('native/traps.md', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| ') && !/^\| (---|trap )/.test(line))
    .map((line) => line.split(' | '));

  it('has three columns in each row', () => {
    assert.ok(rows.length > 50);
    for (const row of rows) assert.equal(row.length, 3, row[0]);
  });

  for (const [trap = '', , tests = ''] of rows)
    it(`names a test that exists, or a reason: ${trap.slice(2, 70)}`, () => {
      if (tests.startsWith('- ')) return;
      const cited = tests.split('; `').map((part) => part.replace(/^`/, ''));
      for (const part of cited) {
        const [, key = '', file = '', titles = ''] = /^([LIU])\/(\S+)` (.*)$/.exec(part) ?? [];
        const text = readFileSync(`${FOLDERS[key] ?? ''}/${file}`, 'utf8');
        const quoted = [...titles.matchAll(/"([^"]+)"/g)].map(([, title = '']) => title);
        assert.ok(quoted.length > 0, part);
        for (const title of quoted) assert.ok(text.includes(title), `${file}: ${title}`);
      }
    });
});
