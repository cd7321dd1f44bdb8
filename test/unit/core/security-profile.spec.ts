import assert from 'node:assert/strict';
import { localhostProfile, parseSecurityProfile } from '../../../src/core/security-profile.js';

describe('a security profile', () => {
  it('is read from the strings of older clients', () => {
    assert.equal(parseSecurityProfile('f', 'runtime/default'), 'runtime-default');
    assert.equal(parseSecurityProfile('f', 'docker/default'), 'runtime-default');
    assert.equal(parseSecurityProfile('f', 'unconfined'), 'unconfined');
    assert.equal(parseSecurityProfile('f', 'localhost//a/b.json'), 'localhost//a/b.json');
  });

  it('of another word is refused by name', () => {
    for (const word of ['default', 'Unconfined', 'localhost', ' unconfined']) {
      assert.throws(() => parseSecurityProfile('field', word), {
        kind: 'invalid-argument',
        message: new RegExp(`^field "${word}" is unknown`),
      });
    }
  });

  it('names a path or a name, or none', () => {
    assert.equal(localhostProfile('localhost//a/b.json'), '/a/b.json');
    assert.equal(localhostProfile('localhost/'), '');
    assert.equal(localhostProfile('runtime-default'), undefined);
  });
});
