/** CDI files and names: what is accepted, what is refused and by which words, and what comes of several. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { cdiDeviceNames, parseCdiSpec, resolveCdiDevices } from '../../../src/core/cdi.js';
import { RuntimeError } from '../../../src/core/errors.js';

const spec = (change: object = {}) => ({
  cdiVersion: '0.6.0',
  kind: 'vendor.com/gpu',
  devices: [{ name: '0', containerEdits: { env: ['GPU=0'] } }],
  ...change,
});
const withEdits = (containerEdits: object) => spec({ devices: [{ name: '0', containerEdits }] });
const file = (path: string, document: unknown, priority = 0) => ({
  path,
  priority,
  spec: parseCdiSpec(document, path),
});
const resolve = (document: unknown, names = ['vendor.com/gpu=0']) =>
  resolveCdiDevices(names, [file('/etc/cdi/a.json', document)], ['/etc/cdi'], []);

describe('CDI device names', () => {
  it('come from the field first, then from annotations that do not repeat them', () => {
    const names = cdiDeviceNames(
      ['v.com/a=1'],
      [
        ['cdi.k8s.io/plugin', 'v.com/a=2,v.com/a=1'],
        ['other/key', 'no name at all'],
      ],
    );
    assert.deepEqual(names, ['v.com/a=1', 'v.com/a=2']);
  });

  for (const name of [
    '',
    'a=b',
    'v.com/a',
    'v.com/a=',
    '/a=b',
    '1v/a=b',
    'v/a=b c',
    'v/a=b\n',
    'v/a/b=c',
  ]) {
    it(`refuse ${JSON.stringify(name)}`, () => {
      const expected = { kind: 'invalid-argument', message: /is no name of a CDI device/ };
      assert.throws(() => cdiDeviceNames([name], []), expected);
      assert.throws(() => cdiDeviceNames([], [['cdi.k8s.io/x', name]]), expected);
    });
  }
});

describe('CDI files', () => {
  for (const version of ['0.3.0', '0.8.0', '1.0.0', '1.1.0', 'v1.1.0']) {
    it(`may be of version ${version}`, () => {
      assert.equal(parseCdiSpec(spec({ cdiVersion: version }), 'f').devices.size, 1);
    });
  }

  for (const [what, document, message] of [
    ['no object', [], /f is not an object/],
    ['no version', spec({ cdiVersion: undefined }), /f\.cdiVersion is not a string/],
    ['a version to come', spec({ cdiVersion: '2.0.0' }), /cdiVersion "2.0.0" is not known/],
    ['an unknown key', spec({ extra: 1 }), /unknown key "extra"/],
    ['a kind without vendor', spec({ kind: 'gpu' }), /kind "gpu" is malformed/],
    ['no devices', spec({ devices: undefined }), /f\.devices is not an array/],
    ['a name twice', spec({ devices: [{ name: 'a' }, { name: 'a' }] }), /"a" is there twice/],
    ['a variable without value', withEdits({ env: ['GPU'] }), /env: "GPU" is malformed/],
    [
      'a relative node',
      withEdits({ deviceNodes: [{ path: 'dev/x' }] }),
      /must be an absolute path/,
    ],
    ['a FIFO', withEdits({ deviceNodes: [{ path: '/x', type: 'p' }] }), /type "p" is no device/],
    [
      'strange permissions',
      withEdits({ deviceNodes: [{ path: '/x', permissions: 'x' }] }),
      /permissions "x"/,
    ],
    [
      'a number that is none',
      withEdits({ deviceNodes: [{ path: '/x', major: 'a' }] }),
      /major is not an integer/,
    ],
    [
      'a mount without source',
      withEdits({ mounts: [{ containerPath: '/x' }] }),
      /hostPath is not a string/,
    ],
    [
      'an unknown hook',
      withEdits({ hooks: [{ hookName: 'x', path: '/x' }] }),
      /hookName "x" is not known/,
    ],
    [
      'a hook by a relative path',
      withEdits({ hooks: [{ hookName: 'prestart', path: 'x' }] }),
      /must be an absolute/,
    ],
    ['a NUL', withEdits({ env: ['A=\0'] }), /string without NUL/],
  ] as const) {
    it(`refuse ${what}`, () => {
      assert.throws(() => parseCdiSpec(document, 'f'), { kind: 'invalid-argument', message });
    });
  }

  it('are parsed or refused, whatever they hold', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        try {
          parseCdiSpec(JSON.parse(text), 'f');
        } catch (error) {
          assert.ok(error instanceof RuntimeError);
        }
      }),
    );
    fc.assert(
      fc.property(fc.object(), (edits) => {
        try {
          resolve(withEdits(edits));
        } catch (error) {
          assert.ok(error instanceof RuntimeError);
        }
      }),
    );
  });

  it('give a device all its edits, those of the file first and once', () => {
    const document = spec({
      cdiVersion: '1.1.0',
      containerEdits: { env: ['ALL=1'], additionalGids: [0, 44] },
      devices: ['0', '1'].map((name) => ({
        name,
        containerEdits: {
          env: [`GPU${name}=x=y`],
          deviceNodes: [
            { path: `/dev/gpu${name}`, hostPath: '/dev/null', permissions: 'rw', uid: 7 },
          ],
          mounts: [
            {
              hostPath: '/lib/a',
              containerPath: '/lib/a',
              options: ['ro', 'nosuid', 'rbind', 'rslave'],
            },
          ],
          hooks: [{ hookName: 'createRuntime', path: '/bin/hook', timeout: 3 }],
        },
      })),
    });
    const edits = resolve(document, ['vendor.com/gpu=1', 'vendor.com/gpu=0']);
    assert.deepEqual(edits.env, [
      ['ALL', '1'],
      ['GPU1', 'x=y'],
      ['GPU0', 'x=y'],
    ]);
    assert.deepEqual(edits.additionalGids, [44]);
    assert.deepEqual(edits.deviceNodes[0], {
      ...{ path: '/dev/gpu1', hostPath: '/dev/null', numbers: null, mode: null },
      ...{ uid: 7, gid: null, permissions: 'rw' },
    });
    assert.deepEqual(edits.mounts[0], {
      ...{ source: '/lib/a', target: '/lib/a', readonly: true, recursiveReadonly: false },
      ...{ propagation: 'slave', restrictions: ['nosuid'] },
    });
    const hook = { path: '/bin/hook', args: ['/bin/hook'], env: [], timeoutMs: 3000 };
    assert.deepEqual(edits.hooks.createRuntime, [hook, hook]);
  });

  for (const [what, edits] of [
    ['intelRdt', { intelRdt: { closID: 'x' } }],
    ['netDevices', { netDevices: [{ hostInterfaceName: 'a', name: 'b' }] }],
    ['createContainer hook "/x"', { hooks: [{ hookName: 'createContainer', path: '/x' }] }],
    ['type "tmpfs"', { mounts: [{ hostPath: '/a', containerPath: '/b', type: 'tmpfs' }] }],
    ['option "size=1"', { mounts: [{ hostPath: '/a', containerPath: '/b', options: ['size=1'] }] }],
  ] as const) {
    it(`have ${what} refused by its name when the device is asked for, and not before`, () => {
      assert.deepEqual(
        resolve(spec({ devices: [{ name: '0' }, { name: '1', containerEdits: edits }] })).env,
        [],
      );
      assert.throws(
        () => resolve(withEdits(edits)),
        (error: RuntimeError) => {
          return error.kind === 'unimplemented' && error.message.includes(what);
        },
      );
    });
  }

  it('are overruled by those of later folders, and conflict within one', () => {
    const [low, high] = [
      spec({ containerEdits: { env: ['A=low'] } }),
      spec({ containerEdits: { env: ['A=high'] } }),
    ];
    const folders = ['/etc/cdi', '/var/run/cdi'];
    const both = [file('/var/run/cdi/b.json', high, 1), file('/etc/cdi/a.json', low)];
    const names = ['vendor.com/gpu=0'];
    assert.deepEqual(resolveCdiDevices(names, both, folders, []).env[0], ['A', 'high']);
    const twice = [...both, file('/var/run/cdi/c.yaml', low, 1)];
    assert.throws(() => resolveCdiDevices(names, twice, folders, []), {
      kind: 'failed-precondition',
      message: /gpu=0 is in both \/var\/run\/cdi\/b\.json and \/var\/run\/cdi\/c\.yaml/,
    });
  });

  it('that lack a device are told of, with what could not be read', () => {
    const find = () =>
      resolveCdiDevices(['v.com/a=1'], [], ['/etc/cdi', '/run/cdi'], ['x.json is damaged']);
    assert.throws(find, {
      kind: 'not-found',
      message:
        /CDI device v\.com\/a=1 is in no file of \/etc\/cdi, \/run\/cdi: .*x\.json is damaged/,
    });
  });
});
