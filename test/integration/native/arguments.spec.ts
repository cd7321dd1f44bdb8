import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { inspect } from 'node:util';
import { isSystemError } from '../../../src/core/errors.js';
import { loadAddon } from '../../../src/native/binding.js';
import { openDescriptors, settlesAt } from '../../support/descriptors.js';

type Call = (...args: unknown[]) => unknown;

const HOSTILE: unknown[] = [
  undefined,
  null,
  true,
  -1,
  0.5,
  NaN,
  Infinity,
  2 ** 31,
  2 ** 53,
  12345678,
  10n,
  '',
  'relative',
  'nul\0inside',
  Symbol('s'),
  {},
  [],
  [1, 2, 3],
  ['a', 'b'],
  new Uint8Array(4),
  new Float64Array(4),
  Buffer.alloc(0),
  () => undefined,
  new Date(),
  Object.create(null),
];

/** Calls that would work with what they are given: shutting them out keeps the host as it is. */
const HARMLESS = new Set(['pipe', 'socketPair', 'lxcVersion']);

/** Good options with one member replaced at a time. */
const GOOD: Record<string, Record<string, unknown>> = {
  spawn: { file: '/bin/true', argv: ['true'], env: [], fds: [-1, -1, -1], cwd: '/', cgroupFd: 0 },
  pinNamespaces: { net: '/nowhere/net', hostname: 'h', sysctls: [['net.a', '1']] },
  mountOverlay: { lower: ['/nowhere'], upper: '/nowhere/u', work: '/nowhere/w', userNamespace: 0 },
  compileSeccomp: { fallback: { action: 'errno' }, architectures: [], rules: [] },
};

/** An answer may be a descriptor, which is ours to close, or a rejection, which is an answer too. */
function settle(name: string, result: unknown): void {
  if (name === 'memfd') closeSync(result as number);
  if (result instanceof Promise) result.catch(() => undefined);
}

/** True when the call was answered by an error of ours, not by a crash. */
function refuses(name: string, call: Call, args: unknown[]): boolean {
  try {
    settle(name, call(...args));
    return false;
  } catch (error) {
    assert.ok(error instanceof TypeError || isSystemError(error), String(error));
    return true;
  }
}

describe('the addon and bad arguments', () => {
  const addon = loadAddon() as unknown as Record<string, Call>;
  const names = Object.keys(addon).filter((name) => !HARMLESS.has(name));

  it('exports what the contract lists', () => {
    assert.deepEqual(
      Object.keys(addon).sort(),
      [
        'CgroupSweeper',
        'ExitWatcher',
        'TreeCounter',
        'bindNamespace',
        'compileSeccomp',
        'connectLoopback',
        'expectCgroupMoves',
        'interfaceCounters',
        'isNamespace',
        'listProjects',
        'lockFile',
        'lxcFreeze',
        'lxcState',
        'lxcVersion',
        'makeTerminalRaw',
        'mappedOwner',
        'memfd',
        'isMountPoint',
        'mountFilesystem',
        'mountOverlay',
        'mountSharedMemory',
        'mountVolume',
        'notify',
        'peerCredentials',
        'pidfdOpen',
        'pidfdSignal',
        'pinNamespaces',
        'pipe',
        'projectOf',
        'projectUsages',
        'quotaState',
        'readFileInRoot',
        'removeTree',
        'setProject',
        'setProjectLimit',
        'setTerminal',
        'socketPair',
        'spawn',
        'treeListing',
        'unmount',
      ].sort(),
    );
  });

  for (const name of names) {
    it(`${name} refuses each kind of value, in each place, and leaks nothing`, async () => {
      const call = addon[name]!;
      const before = openDescriptors();
      assert.throws(() => call(), TypeError);
      for (const value of HOSTILE) {
        // A word is a fine message, and a name or folder that is not there a fine question.
        const asks = ['notify', 'isMountPoint', 'isNamespace', 'unmount'];
        if (typeof value === 'string' && asks.includes(name)) continue;
        // So is a list of none.
        if (name === 'interfaceCounters' && Array.isArray(value) && value.length === 0) continue;
        if (name === 'pidfdOpen' && value === 12345678) {
          assert.throws(() => call(value), { code: 'ESRCH', errno: -3, syscall: 'pidfd_open' });
          continue;
        }
        assert.ok(refuses(name, call, [value]), `${name}(${inspect(value)})`);
        for (const second of HOSTILE) {
          if (typeof second === 'symbol') continue;
          refuses(name, call, [value, second]);
        }
      }
      // The runner's own threads open and close some meanwhile.
      assert.ok(await settlesAt(openDescriptors, before), 'a descriptor was left open');
    });
  }

  for (const [name, good] of Object.entries(GOOD)) {
    it(`${name} refuses bad members of its options`, () => {
      const call = addon[name]!;
      for (const member of Object.keys(good)) {
        for (const value of [null, true, -2, 0.5, 'nul\0', Symbol('s'), {}, [{}], [[]], () => 0]) {
          assert.throws(
            () => {
              settle(name, call({ ...good, [member]: value }));
            },
            TypeError,
            `${name} ${member}=${inspect(value)}`,
          );
        }
      }
    });
  }

  it('spawn wants three descriptors or more, and argv[0]', () => {
    const spawn = addon['spawn']!;
    assert.throws(() => spawn({ ...GOOD['spawn'], fds: [0, 1] }), TypeError);
    assert.throws(() => spawn({ ...GOOD['spawn'], argv: [] }), TypeError);
    assert.throws(() => spawn({ ...GOOD['spawn'], fds: new Array(100_000).fill(0) }), TypeError);
  });

  it('classes want new, their own this and their own arguments', () => {
    const { ExitWatcher, CgroupSweeper, TreeCounter } = loadAddon();
    const watcher = new ExitWatcher(() => undefined);
    const sweeper = new CgroupSweeper();
    try {
      const add = Reflect.get(watcher, 'add') as Call;
      assert.throws(() => Reflect.apply(add, sweeper, [0, 1]), TypeError);
      assert.throws(() => Reflect.apply(add, {}, [0, 1]), TypeError);
      const run = Reflect.get(new TreeCounter('/none'), 'run') as Call;
      assert.throws(() => Reflect.apply(run, sweeper, []), TypeError);
      for (const value of HOSTILE) {
        assert.throws(() => {
          watcher.add(value as number, 1);
        });
        if (typeof value !== 'string') {
          assert.throws(() => new TreeCounter(value as string), TypeError);
        }
        assert.throws(() => {
          sweeper.add(1, value as string, false);
        });
        if (!(value instanceof Float64Array)) {
          assert.throws(() => sweeper.sweep(value as Float64Array), TypeError);
        }
        if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
          assert.throws(() => {
            watcher.remove(value as number);
          }, TypeError);
          assert.throws(() => {
            sweeper.remove(value as number);
          }, TypeError);
        }
      }
      for (const token of [Number.NaN, -1, Infinity, 2 ** 53]) {
        assert.throws(() => sweeper.sweep(Float64Array.of(0, token)), TypeError);
      }
      const file = openSync('/dev/null', 'r');
      assert.throws(
        () => {
          watcher.add(file, 1);
        },
        { code: 'EBADF' },
      );
      closeSync(file);
      assert.throws(
        () => {
          sweeper.add(1, '/tmp', false);
        },
        { code: 'EINVAL', path: '/tmp' },
      );
    } finally {
      watcher.close();
      sweeper.close();
    }
    assert.throws(() => {
      watcher.add(0, 1);
    }, TypeError);
    assert.throws(() => sweeper.sweep(new Float64Array()), TypeError);
  });
});
