import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import {
  foreignArchitectures,
  type SeccompAction,
  type SeccompRule,
} from '../../../src/core/seccomp-rules.js';
import { loadAddon } from '../../../src/native/binding.js';
import { ProcessSpawner, runProcess } from '../../../src/native/process.js';
import {
  ALLOW,
  ARCH_AARCH64,
  ARCH_I386,
  decide,
  KILL_PROCESS,
  type SystemCall,
} from '../../support/bpf.js';

const EPERM = 1;
const ENOSYS = 38;
const READ = 0;
const GETPID = 39;
const MKDIR = 83;
const PERSONALITY = 135;
const CLONE = 56;
const CLONE3 = 435;
const X32 = 0x40000000;

describe('compileSeccomp', () => {
  const addon = loadAddon();
  const architectures = foreignArchitectures(process.arch);
  const compile = (...rules: SeccompRule[]): Uint8Array =>
    addon.compileSeccomp({ fallback: { action: 'errno', errno: EPERM }, architectures, rules });

  it('allows what is listed, and nothing else', () => {
    const program = compile({ names: ['read', 'getpid'], action: 'allow' });
    assert.equal(decide(program, { number: READ }), ALLOW);
    assert.equal(decide(program, { number: GETPID }), ALLOW);
    assert.equal(decide(program, { number: MKDIR }), EPERM);
    assert.equal(decide(program, { number: 5000 }), EPERM);
  });

  it('says the same to i386 and x32 programs, and ends those of a foreign machine', () => {
    const program = compile({ names: ['read', 'getpid'], action: 'allow' });
    assert.equal(decide(program, { number: 3, arch: ARCH_I386 }), ALLOW);
    assert.equal(decide(program, { number: 20, arch: ARCH_I386 }), ALLOW);
    assert.equal(decide(program, { number: 39, arch: ARCH_I386 }), EPERM);
    assert.equal(decide(program, { number: X32 | READ }), ALLOW);
    assert.equal(decide(program, { number: X32 | MKDIR }), EPERM);
    assert.equal(decide(program, { number: READ, arch: ARCH_AARCH64 }), KILL_PROCESS);
  });

  it('gives an errno of its own', () => {
    const program = compile(
      { names: ['read'], action: 'allow' },
      { names: ['clone3'], action: 'errno', errno: ENOSYS },
    );
    assert.equal(decide(program, { number: CLONE3 }), ENOSYS);
    assert.equal(decide(program, { number: MKDIR }), EPERM);
  });

  it('skips names nobody knows and rules that say what holds anyway', () => {
    const program = compile(
      { names: ['no_such_call', 'read'], action: 'allow' },
      { names: ['mkdir'], action: 'errno', errno: EPERM },
    );
    assert.equal(decide(program, { number: READ }), ALLOW);
    assert.equal(decide(program, { number: MKDIR }), EPERM);
    assert.equal(decide(compile(), { number: READ }), EPERM);
  });

  const personality = (value: bigint): SystemCall => ({ number: PERSONALITY, args: [value] });

  it('takes rules for one call as alternatives', () => {
    const program = compile(
      ...[0n, 8n, 0xffffffffn].map((value): SeccompRule => ({
        names: ['personality'],
        action: 'allow',
        args: [{ index: 0, op: 'eq', value }],
      })),
    );
    for (const value of [0n, 8n, 0xffffffffn]) {
      assert.equal(decide(program, personality(value)), ALLOW);
    }
    assert.equal(decide(program, personality(1n)), EPERM);
    assert.equal(decide(program, personality(0x1_0000_0000n)), EPERM);
  });

  it('takes all arguments of a rule together', () => {
    const program = compile({
      names: ['read'],
      action: 'allow',
      args: [
        { index: 0, op: 'eq', value: 7n },
        { index: 2, op: 'le', value: 100n },
      ],
    });
    const read = (fd: bigint, size: bigint): SystemCall => ({ number: READ, args: [fd, 0n, size] });
    assert.equal(decide(program, read(7n, 100n)), ALLOW);
    assert.equal(decide(program, read(7n, 101n)), EPERM);
    assert.equal(decide(program, read(8n, 100n)), EPERM);
    assert.equal(decide(program, read(7n, 1n << 40n)), EPERM);
  });

  it('compares 64 bits, by every operator', () => {
    const big = 0x1_0000_0005n;
    const cases: [NonNullable<SeccompRule['args']>[number]['op'], (value: bigint) => boolean][] = [
      ['eq', (value) => value === big],
      ['ne', (value) => value !== big],
      ['lt', (value) => value < big],
      ['le', (value) => value <= big],
      ['gt', (value) => value > big],
      ['ge', (value) => value >= big],
    ];
    const values = [0n, 4n, 5n, 6n, big - 1n, big, big + 1n, 0x2_0000_0000n, (1n << 64n) - 1n];
    for (const [op, holds] of cases) {
      const program = compile({
        names: ['personality'],
        action: 'allow',
        args: [{ index: 0, op, value: big }],
      });
      for (const value of values) {
        assert.equal(
          decide(program, personality(value)),
          holds(value) ? ALLOW : EPERM,
          `${op} ${value}`,
        );
      }
    }
  });

  it('masks', () => {
    // The flags of clone that make namespaces.
    const program = compile({
      names: ['clone'],
      action: 'allow',
      args: [{ index: 0, op: 'masked-eq', mask: 0x7e020000n, value: 0n }],
    });
    const clone = (flags: bigint): SystemCall => ({ number: CLONE, args: [flags] });
    assert.equal(decide(program, clone(0x01200011n)), ALLOW);
    assert.equal(decide(program, clone(0x10000000n)), EPERM);
    assert.equal(decide(program, clone(0x00020000n)), EPERM);
  });

  it('needs few steps, however many calls are listed', () => {
    const names = [
      'read',
      'write',
      'openat',
      'close',
      'fstat',
      'lseek',
      'mmap',
      'mprotect',
      'munmap',
    ];
    const program = compile({ names, action: 'allow' });
    assert.equal(program.byteLength % 8, 0);
    assert.ok(program.byteLength / 8 < 200);
  });

  it('names the call that a rule cannot be made for', () => {
    assert.throws(
      () =>
        compile({
          names: ['read'],
          action: 'allow',
          args: [
            { index: 0, op: 'ge', value: 1n },
            { index: 0, op: 'le', value: 5n },
          ],
        }),
      { code: 'EINVAL', syscall: 'seccomp_rule_add', path: 'read' },
    );
  });

  it('takes every action, for a rule and for all the rest', () => {
    const cases: [SeccompAction, string | number][] = [
      [{ action: 'allow' }, ALLOW],
      [{ action: 'errno' }, EPERM],
      [{ action: 'errno', errno: 0 }, 0],
      [{ action: 'errno', errno: 4094 }, 4094],
      [{ action: 'kill-process' }, KILL_PROCESS],
      [{ action: 'kill-thread' }, 'kill thread'],
      [{ action: 'log' }, 'log'],
      [{ action: 'trace', errno: 77 }, 'trace 77'],
      [{ action: 'trap' }, 'trap'],
    ];
    for (const [fallback, other] of cases) {
      for (const [action, wanted] of cases) {
        const program = addon.compileSeccomp({
          fallback,
          architectures,
          rules: [{ names: ['mkdir'], ...action }],
        });
        assert.equal(decide(program, { number: MKDIR }), wanted);
        assert.equal(decide(program, { number: READ }), other);
      }
    }
  });

  it('covers the architectures that are named, and ends programs of the others', () => {
    const program = addon.compileSeccomp({
      fallback: { action: 'allow' },
      architectures: ['x86'],
      rules: [{ names: ['mkdir'], action: 'errno', errno: 5 }],
    });
    assert.equal(decide(program, { number: 39, arch: ARCH_I386 }), 5);
    assert.equal(decide(program, { number: X32 | MKDIR }), KILL_PROCESS);
    assert.throws(
      () =>
        addon.compileSeccomp({
          fallback: { action: 'allow' },
          architectures: ['pdp11'],
          rules: [],
        }),
      /architecture pdp11 is unknown/,
    );
  });

  it('refuses to let pass a call that is forbidden and that it does not know', () => {
    const deny = (fallback: SeccompAction): Uint8Array =>
      addon.compileSeccomp({
        fallback,
        architectures,
        rules: [{ names: ['mkdir', 'no_such_call'], action: 'errno', errno: 13 }],
      });
    for (const action of ['allow', 'log'] as const) {
      assert.throws(() => deny({ action }), { code: 'ENOSYS', path: 'no_such_call' });
    }
    assert.equal(decide(deny({ action: 'errno' }), { number: MKDIR }), 13);
  });

  it('takes the same rule twice', () => {
    const rule: SeccompRule = {
      names: ['mkdir', 'mkdir'],
      action: 'allow',
      args: [{ index: 0, op: 'eq', value: 1n }],
    };
    assert.equal(decide(compile(rule, rule), { number: MKDIR, args: [1n] }), ALLOW);
  });

  it('is what the kernel loads and obeys', async () => {
    const program = addon.compileSeccomp({
      fallback: { action: 'errno', errno: EPERM },
      architectures,
      rules: [{ names: ['mkdir', 'mkdirat'], action: 'errno', errno: 77 }],
    });
    // Turned round, as far as the last instruction but one: allow by default, for Python to live on.
    const open = Buffer.from(program);
    for (let at = 0; at < open.length; at += 8) {
      if (open.readUInt16LE(at) === 6 && open.readUInt32LE(at + 4) === (0x00050000 | EPERM)) {
        open.writeUInt32LE(0x7fff0000, at + 4);
      }
    }
    const script = `
import ctypes, os
code = os.read(3, 65536)
class Program(ctypes.Structure):
    _fields_ = [('count', ctypes.c_ushort), ('filter', ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
program = Program(len(code) // 8, code)
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, ctypes.get_errno()
try:
    os.mkdir('/tmp/pvecri-test-never')
except OSError as error:
    print(error.errno, os.path.exists('/tmp/pvecri-test-never'))
`;
    const spawner = new ProcessSpawner(addon);
    const memfd = addon.memfd('filter', open);
    try {
      const result = await runProcess(spawner, {
        file: '/usr/bin/python3',
        argv: ['python3', '-c', script],
        env: [],
        extraFds: [memfd],
      });
      assert.equal(result.stdout.toString(), '77 False\n', result.stderr.toString());
    } finally {
      closeSync(memfd);
      spawner.close();
    }
  });
});
