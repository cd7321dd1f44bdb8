import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatImageReference, parseImageReference } from '../../../../src/core/image-reference.js';
import {
  fileReference,
  parseTemplateVolume,
  templateNameOf,
  volumeReference,
} from '../../../../src/images/template/name.js';

describe('names of templates', () => {
  it('reads what Proxmox VE writes', () => {
    assert.deepEqual(parseTemplateVolume('pve://local:vztmpl/debian-12_1_amd64.tar.zst'), {
      storage: 'local',
      name: 'debian-12_1_amd64.tar.zst',
    });
    assert.equal(parseTemplateVolume('docker.io/library/busybox'), undefined);
  });

  for (const text of [
    'pve://',
    'pve://local',
    'pve://local:iso/a.tar',
    'pve://local:vztmpl/',
    'pve://local:vztmpl/a.tgz',
    'pve://local:vztmpl/../a.tar',
    'pve://local:vztmpl/a/b.tar',
    'pve://../x:vztmpl/a.tar',
    'pve://1:vztmpl/a.tar',
  ]) {
    it(`refuses ${text}`, () => {
      assert.throws(() => parseTemplateVolume(text), { kind: 'invalid-argument' });
    });
  }

  it('gives a valid name by which nothing else is found', () => {
    assert.equal(
      templateNameOf('pve://local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst'),
      'localhost/vztmpl/local:debian-12-standard_12.7-1_amd64.tar.zst',
    );
    const seen = new Map<string, string>();
    const storage = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9._-]{0,8}[a-zA-Z0-9]$/);
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 200 })
      .filter((text) => !/[/\n]/.test(text));
    fc.assert(
      fc.property(storage, name, (id, stem) => {
        for (const reference of [
          volumeReference({ storage: id, name: `${stem}.tar` }),
          fileReference(`/${id}/${stem}.tar`),
        ]) {
          const text = formatImageReference(reference);
          assert.equal(formatImageReference(parseImageReference(text)), text);
        }
        const key = formatImageReference(volumeReference({ storage: id, name: `${stem}.tar` }));
        const whole = `${id}:${stem}`;
        assert.equal(seen.get(key) ?? whole, whole);
        seen.set(key, whole);
      }),
    );
  });

  it('finds a file by any spelling of its path, in its own folder alone', () => {
    assert.equal(templateNameOf('/a/b/x.tar'), templateNameOf('/a//c/../b/x.tar'));
    assert.notEqual(templateNameOf('/a/b/x.tar'), templateNameOf('/a/c/x.tar'));
    assert.equal(templateNameOf('x.tar'), undefined);
  });
});
