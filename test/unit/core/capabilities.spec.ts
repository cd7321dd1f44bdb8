// The exact capability set for what a request adds and drops.
import assert from 'node:assert/strict';
import { capabilityName, resolveCapabilities } from '../../../src/core/capabilities.js';

const resolve = (add: string[], drop: string[]): string[] =>
  resolveCapabilities({ add, drop, ambient: [], privileged: false }).capabilities.map(
    capabilityName,
  );
const ambient = (names: string[], drop: string[]) =>
  resolveCapabilities({ add: [], drop, ambient: names, privileged: false });

describe('resolveCapabilities', () => {
  it('gives the common fourteen by default, as the kernel numbers them', () => {
    assert.deepEqual(
      resolveCapabilities({ add: [], drop: [], ambient: [], privileged: false }).capabilities,
      [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31],
    );
  });

  it('adds and drops by name, with or without CAP_, in any case', () => {
    assert.ok(resolve(['cap_sys_time'], []).includes('CAP_SYS_TIME'));
    assert.ok(!resolve([], ['CHOWN']).includes('CAP_CHOWN'));
    assert.ok(!resolve(['CHOWN'], ['CHOWN']).includes('CAP_CHOWN'));
  });

  it('honours ALL on both sides', () => {
    assert.deepEqual(resolve([], ['ALL']), []);
    assert.deepEqual(resolve(['NET_BIND_SERVICE'], ['ALL']), ['CAP_NET_BIND_SERVICE']);
    assert.equal(resolve(['ALL'], []).length, 41);
    assert.ok(!resolve(['ALL'], ['SYS_ADMIN']).includes('CAP_SYS_ADMIN'));
  });

  it('gives a privileged container everything', () => {
    const request = { add: [], drop: ['ALL'], ambient: [], privileged: true };
    assert.equal(resolveCapabilities(request).capabilities.length, 41);
  });

  it('adds an ambient capability to the others, unless it is dropped', () => {
    const own = ambient(['NET_ADMIN'], ['ALL']);
    assert.deepEqual(own, { capabilities: [12], ambientCapabilities: [12] });
    assert.deepEqual(ambient(['CHOWN'], ['CHOWN']).ambientCapabilities, []);
    assert.equal(ambient(['ALL'], []).ambientCapabilities.length, 41);
    assert.deepEqual(ambient([], []).ambientCapabilities, []);
    assert.throws(() => ambient(['FLY'], []), /"FLY" is unknown/);
  });

  it('names an unknown capability', () => {
    assert.throws(() => resolve(['CAP_FLY'], []), /"CAP_FLY" is unknown/);
  });
});
