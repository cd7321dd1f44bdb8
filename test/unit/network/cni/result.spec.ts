/** Addresses of the pod's own interface alone, in order, from results of every version. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { addressesOf } from '../../../../src/network/cni/result.js';

describe('addressesOf', () => {
  it('takes those of the interface inside the pod, in the order of the result', () => {
    const interfaces = [{ name: 'cni0' }, { name: 'veth1' }, { name: 'eth0', sandbox: '/ns' }];
    const ips = [
      { address: '10.0.0.1/24', interface: 0 },
      { address: 'fd00::2/64', interface: 2 },
      { address: '10.0.0.2/24', interface: 2 },
      { address: '10.0.0.9/24', interface: 7 },
      { address: '10.0.0.3/24' },
    ];
    assert.deepEqual(addressesOf({ interfaces, ips }, 'eth0'), ['fd00::2', '10.0.0.2', '10.0.0.3']);
  });

  it('reads results of 0.2.0', () => {
    const result = { ip4: { ip: '10.0.0.2/24' }, ip6: { ip: 'fd00::2/64' } };
    assert.deepEqual(addressesOf(result, 'eth0'), ['10.0.0.2', 'fd00::2']);
  });

  it('refuses what is no address', () => {
    assert.throws(
      () => addressesOf({ ips: [{ address: 'x\ny' }] }, 'eth0'),
      /ips\.0\.address: "x\\ny"/,
    );
    assert.throws(() => addressesOf({ ips: 'none' }, 'eth0'), /ips: /);
  });

  it('returns addresses or throws an Error, for any object', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('ips', 'ip4', 'interfaces'), fc.jsonValue()),
        (json) => {
          try {
            for (const ip of addressesOf(json, 'eth0')) assert.match(ip, /^[0-9a-f:.]+$/);
          } catch (error) {
            assert.ok(error instanceof Error && error.name === 'Error');
          }
        },
      ),
    );
  });
});
