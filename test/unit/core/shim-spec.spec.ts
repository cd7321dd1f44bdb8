/** The tagged format: same numbers as wire.h, and what is written can be read. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { CHANNEL } from '../../../src/core/attach-frames.js';
import { RuntimeError } from '../../../src/core/errors.js';
import {
  encodeExecSpec,
  failureOf,
  Message,
  MessageWriter,
  OPERATION,
  STATE,
  TAG,
} from '../../../src/core/shim-spec.js';

/** `kName = 1,` of one C++ enum as [name, number]. */
function nativeEnum(name: string): [string, number][] {
  const header = readFileSync('native/common/wire.h', 'utf8');
  const body = new RegExp(`enum class ${name} : \\w+ \\{(.*?)\\};`, 's').exec(header)?.[1] ?? '';
  return [...body.matchAll(/k(\w)(\w*) = (\d+)/g)].map(([, first = '', rest = '', number = '']) => [
    first.toLowerCase() + rest,
    Number(number),
  ]);
}

const noNul = fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0'));
const tag = fc.integer({ min: 0, max: 0xffff });

describe('shim-spec', () => {
  it('has the numbers of wire.h', () => {
    assert.deepEqual(Object.entries(TAG), nativeEnum('Tag'));
    assert.deepEqual(Object.entries(OPERATION), nativeEnum('Operation'));
    assert.deepEqual(Object.entries(STATE), nativeEnum('State'));
    assert.deepEqual(Object.entries(CHANNEL), nativeEnum('Channel'));
  });

  it('reads back every text, number and nested message', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(tag, noNul), { selector: ([key]) => key }),
        tag,
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        (texts, nestedTag, number) => {
          const inner = new MessageWriter();
          for (const [key, text] of texts) inner.text(key, text);
          const bytes = new MessageWriter().number(1, number).message(2, inner).finish();
          const message = new Message(bytes);
          assert.equal(message.bigint(1), number);
          for (const [key, text] of texts) assert.equal(message.nested(2).text(key), text);
          assert.equal(message.has(nestedTag), nestedTag === 1 || nestedTag === 2);
        },
      ),
    );
  });

  it('never reads beyond the end of foreign bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          new Message(bytes);
        } catch (error) {
          assert.ok(error instanceof RuntimeError, String(error));
        }
      }),
    );
  });

  it('refuses every message that was cut off', () => {
    const whole = new MessageWriter().text(1, 'some text').finish();
    for (let length = 1; length < whole.length; length += 1)
      assert.throws(() => new Message(whole.subarray(0, length)), /cut off/);
  });

  it('refuses a NUL in text', () => {
    assert.throws(() => new MessageWriter().text(1, 'a\0b'), { kind: 'invalid-argument' });
  });

  it('tells failure from success', () => {
    assert.equal(failureOf(new Message(new Uint8Array())), undefined);
    const bytes = new MessageWriter()
      .number(TAG.errno, 2)
      .text(TAG.step, 'exec')
      .text(TAG.text, '/nope')
      .finish();
    assert.deepEqual(failureOf(new Message(bytes)), { step: 'exec', errno: 2, text: '/nope' });
  });

  it('carries what a process is', () => {
    const process = {
      argv: ['a', ''],
      env: ['K=v'],
      cwd: '/w',
      uid: 4294967294,
      gid: 7,
      supplementalGroups: [1, 2],
      capabilities: [0, 40],
      ambientCapabilities: [12],
      noNewPrivileges: true,
      seccomp: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]),
      seccompFlags: 6,
      apparmorProfile: 'p',
      oomScoreAdj: -998,
      rlimits: [],
      tty: false,
    };
    const spec = {
      cgroupRoot: '/c',
      cgroup: '/o',
      name: 'n',
      userNamespace: null,
      process,
      stdin: false,
      reportStart: false,
      size: null,
    };
    const message = new Message(encodeExecSpec(spec)).nested(TAG.process);
    assert.equal(message.text(TAG.cwd), '/w');
    assert.equal(message.bigint(TAG.uid), 4294967294n);
    assert.equal(message.bigint(TAG.capabilities), 1n | (1n << 40n));
    assert.equal(message.bigint(TAG.ambientCapabilities), 1n << 12n);
    assert.equal(message.number(TAG.oomScoreAdj), -998);
    assert.equal(message.number(TAG.seccompFlags), 6);
    assert.equal(message.text(TAG.appArmorProfile), 'p');
    assert.equal(message.number(TAG.noNewPrivileges), 1);
    for (const capability of [-1, 64, 1.5])
      assert.throws(
        () => encodeExecSpec({ ...spec, process: { ...process, capabilities: [capability] } }),
        { kind: 'invalid-argument' },
      );
  });
});
