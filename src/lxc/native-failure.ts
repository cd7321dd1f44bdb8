/** Words and error kinds for what the shim, the held init and the exec helper report. */
import { dirname } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import { EDQUOT, RuntimeError, type ErrorKind } from '../core/errors.js';
import type { NativeFailure } from '../core/shim-spec.js';

/** `subject` is what the whole was about: `container <id>`. `detail` is added where liblxc is to blame. */
export function nativeError(subject: string, failure: NativeFailure, detail = ''): RuntimeError {
  const [code, words] = nameOf(failure.errno);
  const why = `${words} (${code})`;
  const object = JSON.stringify(failure.text);
  if (failure.step === 'recursive read-only') {
    // The kubelet looks for this word at the beginning.
    return new RuntimeError(
      'failed-precondition',
      `RROUnsupported: ${subject}: cannot make host path ${object} read-only with all mounts below it: ${why}`,
    );
  }
  const [kind, what] = explain(failure.step, code, failure.text, object);
  return new RuntimeError(kind, `${subject}: ${what}: ${detail === '' ? why : detail}`);
}

function nameOf(errno: number): [code: string, words: string] {
  // The limit of the container's root file system, which Node has no name for.
  if (errno === EDQUOT) return ['EDQUOT', 'disk quota exceeded'];
  return getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, 'unknown error'];
}

function explain(
  step: string,
  code: string,
  text: string,
  object: string,
): [kind: ErrorKind, what: string] {
  const missing = code === 'ENOENT';
  switch (step) {
    case 'exec':
      return ['invalid-argument', `cannot run ${object}`];
    case 'rlimit':
      return [
        code === 'EPERM' ? 'failed-precondition' : 'invalid-argument',
        `cannot set resource limit number ${text} of linux/resource.h`,
      ];
    case 'chdir':
      return ['invalid-argument', `cannot enter working directory ${object}`];
    case 'mount source':
      return [missing ? 'not-found' : 'failed-precondition', `cannot mount host path ${object}`];
    case 'idmapped mount':
      return [
        'failed-precondition',
        code === 'EINVAL'
          ? `cannot map the ids of host path ${object}, whose file system has no idmapped mounts`
          : `cannot map the ids of host path ${object}`,
      ];
    case 'mount shared':
      return [
        'failed-precondition',
        `cannot share mounts with host path ${object}, which is not on a shared mount`,
      ];
    case 'mount slave':
      return [
        'failed-precondition',
        `cannot follow mounts below host path ${object}, which is on neither a shared nor a slave mount`,
      ];
    case 'mount target':
    case 'mount target in /proc':
    case 'mount':
      return [resource(code) ?? 'invalid-argument', `cannot mount onto container path ${object}`];
    case 'device':
      return [
        resource(code) ?? (code === 'EPERM' ? 'failed-precondition' : 'invalid-argument'),
        `cannot make device ${object}`,
      ];
    case 'device covered':
      return ['invalid-argument', `device ${object} is covered by a mount`];
    case 'log':
      return missing
        ? ['not-found', `log folder ${JSON.stringify(dirname(text))} does not exist`]
        : [
            resource(code) ??
              (code === 'ELOOP' || code === 'EINVAL' ? 'invalid-argument' : 'internal'),
            `cannot open log file ${object} (it must be a regular file, not a symlink)`,
          ];
    case 'apparmor profile':
      return [
        missing ? 'not-found' : 'failed-precondition',
        `cannot use AppArmor profile ${object}`,
      ];
    case 'start':
      return ['failed-precondition', 'cannot start it: it is not in state created'];
    case 'attach':
      return code === 'EBUSY'
        ? ['resource-exhausted', 'cannot attach: as many clients as can be are attached']
        : ['failed-precondition', 'cannot attach: it is not running'];
    case 'container stdin':
      return ['failed-precondition', 'it has no stdin, or none any more'];
    case 'operation':
      return ['unimplemented', 'its shim is from before an upgrade and cannot do that yet'];
    case 'setns':
      return ['failed-precondition', 'it is not running'];
    case 'liblxc':
      return ['internal', 'liblxc could not build it'];
    default:
      return [resource(code) ?? 'internal', text === '' ? step : `${step} ${object}`];
  }
}

function resource(code: string): ErrorKind | undefined {
  return ['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'ENOMEM'].includes(code)
    ? 'resource-exhausted'
    : undefined;
}
