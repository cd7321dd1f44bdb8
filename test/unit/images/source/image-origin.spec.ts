import assert from 'node:assert/strict';
import { parseImageOrigin } from '../../../../src/images/source/image-origin.js';

describe('parseImageOrigin', () => {
  it('tells folders, archives and registries apart', () => {
    for (const [text, kind, path, name] of [
      ['oci:/a/b', 'layout', '/a/b', ''],
      ['oci:/a/b:v1', 'layout', '/a/b', 'v1'],
      ['oci:/a/b:x.y:5/c:v1', 'layout', '/a/b', 'x.y:5/c:v1'],
      ['oci-archive:/a/b.tar', 'archive', '/a/b.tar', ''],
      ['/a/b.tar:v1', 'path', '/a/b.tar', 'v1'],
    ] as const) {
      assert.deepEqual(parseImageOrigin(text), { kind, path, name });
    }
    assert.equal(parseImageOrigin('busybox').kind, 'registry');
    assert.equal(parseImageOrigin('oci/busybox:1').kind, 'registry');
  });

  it('knows the name of a template’s image for the template', () => {
    const volume = { storage: 'local', name: 'debian-12_1_amd64.tar.zst' };
    for (const text of [
      'pve://local:vztmpl/debian-12_1_amd64.tar.zst',
      'localhost/vztmpl/local:debian-12_1_amd64.tar.zst',
    ]) {
      assert.deepEqual(parseImageOrigin(text), { kind: 'volume', volume });
    }
    for (const text of ['localhost:5000/vztmpl/local:1', 'localhost/vztmpl:1', 'vztmpl/local:1']) {
      assert.equal(parseImageOrigin(text).kind, 'registry', text);
    }
    assert.throws(() => parseImageOrigin('localhost/vztmpl/local:1'), { kind: 'invalid-argument' });
  });

  it('says what is wrong with what other tools take', () => {
    for (const scheme of ['docker://', 'https://', 'http://']) {
      assert.throws(() => parseImageOrigin(`${scheme}example.org/a:1`), {
        kind: 'invalid-argument',
        message: new RegExp(`has a scheme: leave ${scheme} out$`),
      });
    }
    for (const text of ['./a.tar', '../a']) {
      assert.throws(() => parseImageOrigin(text), { message: /needs an absolute path$/ }, text);
    }
  });

  it('refuses control characters and relative paths', () => {
    for (const text of ['oci:/a\0', '/a\nb', 'busybox\r', 'oci:a', 'oci:', 'oci-archive:./a']) {
      assert.throws(() => parseImageOrigin(text), { kind: 'invalid-argument' }, text);
    }
  });
});
