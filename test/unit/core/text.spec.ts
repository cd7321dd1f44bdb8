// What no string from outside may carry into a file or a path.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatResolvConf } from '../../../src/core/resolv-conf.js';
import { parseSignal } from '../../../src/core/signals.js';
import {
  requireAbsolutePath,
  requireNoControl,
  requireRelativePath,
} from '../../../src/core/text.js';

describe('text checks', () => {
  it('refuse every C0 control character and DEL, and name field and value', () => {
    for (const code of [...Array(32).keys(), 127]) {
      const value = `a${String.fromCharCode(code)}b`;
      assert.throws(
        () => requireNoControl('field x', value),
        /^RuntimeError: field x "a.*" must not/,
      );
    }
    assert.equal(requireNoControl('x', 'ä b\u00a0'), 'ä b\u00a0');
  });

  it('keep a relative path below the folder it is joined to', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('..', '.', 'a', '', '/', 'b..', '\n')), (parts) => {
        const path = parts.join('/');
        let accepted;
        try {
          accepted = requireRelativePath('p', path);
        } catch {
          return;
        }
        const depth = accepted.split('/').reduce((d, part) => (part === '..' ? d - 1 : d), 0);
        assert.equal(depth, 0);
        assert.ok(!accepted.startsWith('/'));
      }),
    );
  });

  it('refuse relative, climbing and endless absolute paths', () => {
    assert.throws(() => requireAbsolutePath('p', 'etc'), /absolute/);
    assert.throws(() => requireAbsolutePath('p', '/a/../b'), /"\.\."/);
    assert.throws(() => requireAbsolutePath('p', `/${'a'.repeat(4096)}`), /4096/);
    assert.equal(requireAbsolutePath('p', '/a..b/...'), '/a..b/...');
  });
});

describe('formatResolvConf', () => {
  it('writes search, nameserver and options', () => {
    assert.equal(
      formatResolvConf({
        servers: ['10.0.0.10', '::1'],
        searches: ['svc.local', 'local'],
        options: ['ndots:5'],
      }),
      'search svc.local local\nnameserver 10.0.0.10\nnameserver ::1\noptions ndots:5\n',
    );
  });

  it('keeps one word per entry and one line per kind, whatever the words', () => {
    const word = fc.string({ minLength: 1 });
    fc.assert(
      fc.property(fc.array(word), fc.array(word), (servers, searches) => {
        let text;
        try {
          text = formatResolvConf({ servers, searches, options: [] });
        } catch (error) {
          assert.match((error as Error).message, /must not contain control/);
          return;
        }
        const lines = text.split('\n').slice(0, -1);
        assert.equal(lines.length, servers.length + (searches.length > 0 ? 1 : 0));
        for (const line of lines) assert.match(line, /^(search|nameserver) /);
      }),
    );
  });
});

describe('parseSignal', () => {
  it('knows names, numbers and real-time signals', () => {
    const known = { SIGTERM: 15, term: 15, '9': 9, SIGKILL: 9, 'SIGRTMIN+3': 37, 'RTMAX-1': 63 };
    for (const [text, number] of Object.entries(known))
      assert.equal(parseSignal(text), number, text);
  });

  it('answers 0 to everything else', () => {
    for (const text of [
      '',
      'SIGNOPE',
      '65',
      '-9',
      '9\n9',
      'SIGRTMIN+31',
      'constructor',
      '__proto__',
    ]) {
      assert.equal(parseSignal(text), 0, text);
    }
  });
});
