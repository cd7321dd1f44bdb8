import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { libexecDir } from '../../../src/native/binding.js';

describe('libexecDir', () => {
  const before = process.env['PVECRI_NATIVE_DIR'];

  afterEach(() => {
    if (before === undefined) delete process.env['PVECRI_NATIVE_DIR'];
    else process.env['PVECRI_NATIVE_DIR'] = before;
  });

  it("is node-gyp's output folder of the project", () => {
    delete process.env['PVECRI_NATIVE_DIR'];
    assert.equal(libexecDir(), resolve(import.meta.dirname, '../../../build/Release'));
  });

  it('is where PVECRI_NATIVE_DIR points, as an absolute path', () => {
    process.env['PVECRI_NATIVE_DIR'] = '/usr/libexec/pvecri/';
    assert.equal(libexecDir(), '/usr/libexec/pvecri');
    process.env['PVECRI_NATIVE_DIR'] = 'out';
    assert.equal(libexecDir(), resolve('out'));
  });
});
