/** Failures of the native side in words that name the object and what to do. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { EDQUOT, type ErrorKind } from '../../../src/core/errors.js';
import { nativeError } from '../../../src/lxc/native-failure.js';

const { ENOENT, EACCES, EISDIR, ELOOP, ENOSPC, EIO, EINVAL } = constants.errno;

describe('nativeError', () => {
  const cases: [step: string, errno: number, text: string, kind: ErrorKind, message: string][] = [
    [
      'exec',
      ENOENT,
      '/nope',
      'invalid-argument',
      'c: cannot run "/nope": no such file or directory (ENOENT)',
    ],
    [
      'chdir',
      EACCES,
      '/w',
      'invalid-argument',
      'c: cannot enter working directory "/w": permission denied (EACCES)',
    ],
    [
      'mount',
      EDQUOT,
      '/data',
      'resource-exhausted',
      'c: cannot mount onto container path "/data": disk quota exceeded (EDQUOT)',
    ],
    [
      'mount source',
      ENOENT,
      '/s',
      'not-found',
      'c: cannot mount host path "/s": no such file or directory (ENOENT)',
    ],
    [
      'mount source',
      EACCES,
      '/s',
      'failed-precondition',
      'c: cannot mount host path "/s": permission denied (EACCES)',
    ],
    [
      'recursive read-only',
      EINVAL,
      '/s',
      'failed-precondition',
      'RROUnsupported: c: cannot make host path "/s" read-only with all mounts below it: invalid argument (EINVAL)',
    ],
    [
      'mount slave',
      EINVAL,
      '/s',
      'failed-precondition',
      'c: cannot follow mounts below host path "/s", which is on neither a shared nor a slave mount: invalid argument (EINVAL)',
    ],
    [
      'device',
      EISDIR,
      '/dev/x',
      'invalid-argument',
      'c: cannot make device "/dev/x": illegal operation on a directory (EISDIR)',
    ],
    [
      'mount target',
      ENOSPC,
      '/t',
      'resource-exhausted',
      'c: cannot mount onto container path "/t": no space left on device (ENOSPC)',
    ],
    [
      'log',
      ENOENT,
      '/l/f/0.log',
      'not-found',
      'c: log folder "/l/f" does not exist: no such file or directory (ENOENT)',
    ],
    [
      'log',
      ELOOP,
      '/l',
      'invalid-argument',
      'c: cannot open log file "/l" (it must be a regular file, not a symlink): too many symbolic links encountered (ELOOP)',
    ],
    [
      'log',
      ENOSPC,
      '/l',
      'resource-exhausted',
      'c: cannot open log file "/l" (it must be a regular file, not a symlink): no space left on device (ENOSPC)',
    ],
    [
      'apparmor profile',
      ENOENT,
      'p',
      'not-found',
      'c: cannot use AppArmor profile "p": no such file or directory (ENOENT)',
    ],
    ['seccomp', EINVAL, '', 'internal', 'c: seccomp: invalid argument (EINVAL)'],
    ['anything', 4242, 'a\nb', 'internal', 'c: anything "a\\nb": unknown error (errno 4242)'],
  ];
  for (const [step, errno, text, kind, message] of cases)
    it(`${step} with errno ${errno}`, () => {
      const error = nativeError('c', { step, errno, text });
      assert.equal(error.message, message);
      assert.equal(error.kind, kind);
    });

  it('puts what liblxc wrote in the place of an errno', () => {
    const error = nativeError('c', { step: 'liblxc', errno: EIO, text: '' }, 'no such namespace');
    assert.equal(error.message, 'c: liblxc could not build it: no such namespace');
  });
});
