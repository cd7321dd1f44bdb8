/** Adjustments of several plugins in one: who owns what, what removal frees, what a hostile one cannot do. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Adjusting } from '../../../src/nri/adjustment.js';
import { toCoreAdjustment } from '../../../src/nri/core-adjustment.js';
import { ContainerAdjustment } from '../../../src/nri/gen/adjustment.js';
import { Container } from '../../../src/nri/gen/container.js';
import { LinuxResources } from '../../../src/nri/gen/linux.js';
import { Field } from '../../../src/nri/gen/validation.js';
import { readLimits } from '../../../src/nri/limits.js';
import { NO_LIMITS } from '../../../src/core/resource-change.js';
import { Owners } from '../../../src/nri/owners.js';

type Wanted = Parameters<typeof ContainerAdjustment.fromPartial>[0];

function adjust(...wanted: [plugin: string, Wanted][]) {
  const owners = new Owners();
  const container = Container.fromPartial({
    id: 'c',
    env: ['A=image', 'B=image'],
    mounts: [{ destination: '/data' }],
    linux: {},
  });
  const adjusting = new Adjusting(container, null, owners);
  for (const [plugin, change] of wanted) {
    adjusting.apply(plugin, ContainerAdjustment.fromPartial(change));
  }
  return { adjusting, owners, result: toCoreAdjustment(adjusting) };
}

describe('adjustments of plugins', () => {
  it('add up in the order of the plugins, and show the next what there is', () => {
    const { adjusting, result } = adjust(
      ['1', { env: [{ key: 'A', value: 'one' }], mounts: [{ destination: '-/data' }] }],
      ['2', { env: [{ key: 'C', value: 'two' }], mounts: [{ destination: '/more' }] }],
    );
    assert.deepEqual(adjusting.container.env, ['B=image', 'A=one', 'C=two']);
    assert.deepEqual(
      adjusting.container.mounts.map(({ destination }) => destination),
      ['/more'],
    );
    assert.deepEqual(result.env, [
      ['A', 'one'],
      ['C', 'two'],
    ]);
    assert.deepEqual(result.removedMounts, ['/data']);
  });

  it('of nobody are none', () => {
    const { result } = adjust(
      ['1', {}],
      ['2', { linux: { resources: {}, rdt: { remove: true } } }],
    );
    const { hooks, resources, ...rest } = result;
    assert.deepEqual(resources, NO_LIMITS);
    assert.deepEqual(Object.values(hooks).flat(), []);
    for (const value of Object.values(rest)) {
      assert.ok(value === null || value === '' || (value as unknown[]).length === 0);
    }
  });

  it('conflict where two set the same, and not where one has removed it first', () => {
    const same: Wanted[] = [
      { env: [{ key: 'A', value: '1' }] },
      { mounts: [{ destination: '/data' }] },
      { annotations: new Map([['a', '1']]) },
      { args: ['x'] },
      { rlimits: [{ type: 'RLIMIT_CORE' }] },
      { CDIDevices: [{ name: 'v/c=0' }] },
      { linux: { devices: [{ path: '/dev/x', type: 'c' }] } },
      { linux: { oomScoreAdj: { value: 1n } } },
      { linux: { cgroupsPath: '/x' } },
      { linux: { seccompPolicy: { defaultAction: 'SCMP_ACT_ALLOW' } } },
      { linux: { resources: { memory: { limit: { value: 1n } } } } },
      { linux: { resources: { unified: new Map([['memory.high', '1']]) } } },
    ];
    for (const wanted of same) {
      assert.throws(() => adjust(['one', wanted], ['two', wanted]), /one and two both set/);
    }
    const removed: [Wanted, Wanted][] = [
      [{ env: [{ key: 'A', value: '1' }] }, { env: [{ key: '-A' }, { key: 'A', value: '2' }] }],
      [{ args: ['x'] }, { args: ['', 'y'] }],
      [
        { annotations: new Map([['a', '1']]) },
        {
          annotations: new Map([
            ['-a', ''],
            ['a', '2'],
          ]),
        },
      ],
    ];
    for (const [first, second] of removed) adjust(['one', first], ['two', second]);
    const { owners, result } = adjust(['one', { args: ['x'] }], ['two', { args: ['', 'y', 'z'] }]);
    assert.deepEqual(result.args, ['y', 'z']);
    assert.equal(owners.ownerOf('c', Field.Args), 'two');
  });

  it('name all who add hooks', () => {
    const hooks = { poststop: [{ path: '/bin/true' }] };
    const { owners, result } = adjust(
      ['one', { hooks }],
      ['two', { hooks }],
      ['three', { hooks: {} }],
    );
    assert.equal(owners.ownerOf('c', Field.OciHooks), 'one,two');
    assert.equal(result.hooks.poststop.length, 2);
    assert.deepEqual(result.hooks.poststop[0]?.args, ['/bin/true']);
    assert.equal(owners.toMessage().owners.get('c')?.simple.get(Field.OciHooks), 'one,two');
  });

  it('with any names lose none, and none of the prototype', () => {
    const name = fc.oneof(
      fc.stringMatching(/^[A-Za-z_]{1,6}$/),
      fc.constantFrom('__proto__', 'constructor', 'toString'),
    );
    fc.assert(
      fc.property(fc.uniqueArray(name, { maxLength: 8 }), (names) => {
        const { result, adjusting } = adjust(
          ...names.map((key, i): [string, Wanted] => [
            String(i),
            { env: [{ key, value: key }], annotations: new Map([[key, key]]) },
          ]),
        );
        assert.deepEqual(
          result.env.map(([key]) => key),
          names,
        );
        assert.deepEqual([...adjusting.container.annotations.keys()], names);
      }),
    );
  });
});

describe('limits of plugins', () => {
  const read = (limits: Parameters<typeof LinuxResources.fromPartial>[0]) =>
    readLimits(LinuxResources.fromPartial(limits), 'NRI plugin p');

  it('become ours, pids and a reservation as files', () => {
    const { resources, claims } = read({
      memory: { limit: { value: 100n }, swap: { value: -1n }, reservation: { value: 50n } },
      cpu: { shares: { value: 2n }, quota: { value: -1n }, cpus: '0-1' },
      pids: { limit: 7n },
      hugepageLimits: [{ pageSize: '2MB', limit: 0n }],
      unified: new Map([['memory.high', '90']]),
    });
    assert.deepEqual(
      [resources.memoryLimitBytes, resources.memorySwapLimitBytes, resources.cpuQuota],
      [100, -1, -1],
    );
    assert.deepEqual(resources.unified, [
      ['memory.high', '90'],
      ['memory.low', '50'],
      ['pids.max', '7'],
    ]);
    assert.equal(resources.cpusetCpus, '0-1');
    assert.equal(claims.length, 9);
  });

  it('of 0 say nothing, no limit is the largest number too, and what does not fit is refused', () => {
    assert.deepEqual(read({ memory: { limit: { value: 0n } }, cpu: {} }).claims, []);
    assert.equal(read({ cpu: { quota: { value: 2n ** 63n - 1n } } }).resources.cpuQuota, -1);
    for (const value of [-2n, 2n ** 60n]) {
      assert.throws(
        () => read({ memory: { limit: { value } } }),
        /memory.limit .* is out of range/,
      );
    }
  });
});
