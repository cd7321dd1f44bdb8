/** Tables line up, and nothing in them reaches the terminal as a command. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatTable, printable, shortId } from '../../../src/cli/table.js';

describe('formatTable', () => {
  it('pads columns to the widest cell, but not the last one', () => {
    const table = formatTable(
      ['ID', 'NAME'],
      [
        ['1', 'web'],
        ['12345', 'a long name'],
      ],
    );
    assert.equal(table, 'ID     NAME\n1      web\n12345  a long name\n');
  });

  it('has its head alone without rows', () => {
    assert.equal(formatTable(['A', 'B'], []), 'A  B\n');
  });

  it('gives one line for each row, whatever is in it', () => {
    const cell = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell)), (rows) => {
        const lines = formatTable(['A', 'B'], rows).split('\n');
        assert.equal(lines.length, rows.length + 2);
        assert.ok(lines.every((line) => !line.includes('\u001b')));
      }),
    );
  });
});

describe('printable', () => {
  it('takes the teeth out of escape sequences and turned text', () => {
    assert.equal(printable('a\u001b[31mb\r\n\u202ec'), 'a?[31mb???c');
    assert.equal(printable('größe 1 – ok'), 'größe 1 – ok');
  });
});

describe('shortId', () => {
  it('cuts ids of every kind to the same length', () => {
    assert.equal(shortId(`sha256:${'a'.repeat(64)}`), 'a'.repeat(13));
    assert.equal(shortId('b'.repeat(64)), 'b'.repeat(13));
  });
});
