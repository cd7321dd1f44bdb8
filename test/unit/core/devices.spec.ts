/** Device requests: what is malformed is named, folders map onto folders, accesses add up. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { mergeAccess, toDeviceNodes, validateDevice } from '../../../src/core/devices.js';

const request = { hostPath: '/dev/x', containerPath: '/dev/y', permissions: 'rw' };
const found = {
  type: 'character',
  major: 1,
  minor: 3,
  mode: 0o666,
  uid: 0,
  gid: 5,
} as const;

describe('devices', () => {
  for (const [what, change, message] of [
    ['no permissions', { permissions: '' }, /\/dev\/x: permissions "" are malformed/],
    ['unknown permissions', { permissions: 'rwx' }, /permissions "rwx"/],
    ['a property of every object', { permissions: 'constructor' }, /permissions "constructor"/],
    ['a relative host path', { hostPath: 'dev/x' }, /host_path "dev\/x" must be an absolute/],
    ['dots', { containerPath: '/dev/../../x' }, /container_path .* must not contain ".."/],
    ['a newline', { containerPath: '/dev/a\nb' }, /container_path .* control characters/],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.throws(
        () => {
          validateDevice({ ...request, ...change });
        },
        { kind: 'invalid-argument', message },
      );
    });
  }

  it('takes any order and repetition of r, w and m', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('r', 'w', 'm'), { minLength: 1 }), (letters) => {
        const [node] = toDeviceNodes({ ...request, permissions: letters.join('') }, [
          { ...found, path: '/dev/x', name: '' },
        ]);
        const expected = { m: 1, r: 2, w: 4 };
        assert.equal(
          node?.access,
          [...new Set(letters)].reduce((sum, letter) => sum + expected[letter], 0),
        );
      }),
    );
  });

  it('puts the devices of a folder below the container path, or where the host has them', () => {
    const below = [{ ...found, path: '/dev/snd/a', name: 'a' }];
    const paths = (containerPath: string) =>
      toDeviceNodes({ ...request, hostPath: '/dev/snd', containerPath }, below).map((n) => n.path);
    assert.deepEqual(paths('/dev/sound'), ['/dev/sound/a']);
    assert.deepEqual(paths(''), ['/dev/snd/a']);
  });

  it('adds up the accesses of one device under two names, and of no other', () => {
    const node = { ...found, path: '/a', access: 2, optional: false };
    const nodes = mergeAccess([
      node,
      { ...node, path: '/b', access: 4 },
      { ...node, minor: 4, access: 1 },
      { ...node, type: 'block', access: 1 },
    ]);
    assert.deepEqual(
      nodes.map((n) => n.access),
      [6, 6, 1, 1],
    );
  });
});
