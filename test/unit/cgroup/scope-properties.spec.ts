import assert from 'node:assert/strict';
import fc from 'fast-check';
import { scopeProperties } from '../../../src/cgroup/scope-properties.js';
import { RuntimeError } from '../../../src/core/errors.js';

const one = (file: string, value: string) => scopeProperties([{ file, value }]);

describe('scopeProperties', () => {
  it('gives the scope its weights and protections, and leaves limits to the box', () => {
    const settings = Object.entries({
      'cpu.weight': '20',
      'cpu.max': '50000 100000',
      'memory.max': '1048576',
      'memory.min': '4096',
      'memory.low': 'max',
      'memory.high': '2M',
      'io.weight': 'default 50',
      'pids.max': '10',
    }).map(([file, value]) => ({ file, value }));
    assert.deepEqual(scopeProperties(settings), [
      'CPUWeight=20',
      'MemoryMin=4096',
      'MemoryLow=infinity',
      'IOWeight=50',
    ]);
    assert.deepEqual(one('cpu.idle', '1'), ['CPUWeight=idle']);
    assert.deepEqual(one('cpu.idle', '0'), []);
  });

  for (const [file, value] of [
    ['cpu.weight.nice', '3'],
    ['io.bfq.weight', '100'],
    ['io.weight', '8:0 100'],
    ['cpu.weight', '20 User=x'],
    ['memory.min', '-1'],
  ] as const) {
    it(`refuses ${file} ${value}`, () => {
      assert.throws(() => one(file, value), { kind: 'invalid-argument' });
    });
  }

  it('passes no value on that could be another property', () => {
    const file = fc.constantFrom('cpu.weight', 'cpu.idle', 'io.weight', 'memory.min', 'memory.low');
    fc.assert(
      fc.property(file, fc.string(), (name, value) => {
        try {
          for (const property of one(name, value))
            assert.match(property, /^[A-Za-z]+=[0-9a-zKMGT]+$/);
        } catch (error) {
          assert.ok(error instanceof RuntimeError, String(error));
        }
      }),
    );
  });
});
