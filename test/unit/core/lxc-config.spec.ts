/** The liblxc configuration: whatever the spec holds, each key stays on its line. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { RuntimeError } from '../../../src/core/errors.js';
import { parseContainerId } from '../../../src/core/ids.js';
import { buildLxcConfig, HOST_NETWORK_FD, ROOTFS_SPOT } from '../../../src/core/lxc-config.js';
import type { ContainerSpec } from '../../../src/core/model.js';

const base: ContainerSpec = {
  id: parseContainerId('a'.repeat(64)),
  directory: '/d',
  runDirectory: '/r',
  cgroup: { outer: '/pod/c', monitor: '/monitors/c', pivot: '/pivot', shim: '/shims' },
  namespaces: { network: '/ns/net', ipc: '/ns/ipc', uts: '/ns/uts', pid: 'new' },
  userNamespace: null,
  readonlyRootfs: false,
  privileged: false,
  devices: [],
  mounts: [],
  maskedPaths: [],
  readonlyPaths: [],
  process: {
    argv: ['x'],
    env: [],
    cwd: '/',
    uid: 0,
    gid: 0,
    supplementalGroups: [],
    capabilities: [],
    ambientCapabilities: [],
    noNewPrivileges: false,
    seccomp: null,
    seccompFlags: 0,
    apparmorProfile: null,
    oomScoreAdj: null,
    rlimits: [],
    tty: false,
  },
  stdin: false,
  stdinOnce: false,
  logPath: '',
  logFolder: '',
};

function parse(text: string): Map<string, string> {
  assert.ok(text.endsWith('\n'));
  const lines = text.slice(0, -1).split('\n');
  const map = new Map(lines.map((line) => line.split(' = ', 2) as [string, string]));
  assert.equal(map.size, lines.length, 'a key stands twice');
  return map;
}

describe('buildLxcConfig', () => {
  it('joins, clones and inherits namespaces', () => {
    const config = parse(buildLxcConfig(base, { appArmor: false }));
    assert.equal(config.get('lxc.namespace.clone'), 'mnt cgroup pid');
    assert.equal(config.get('lxc.namespace.share.net'), '/ns/net');
    assert.equal(config.get('lxc.namespace.share.pid'), undefined);
    const host = { network: 'host', ipc: 'host', uts: 'host', pid: 'host' };
    const inherited = parse(buildLxcConfig({ ...base, namespaces: host }, { appArmor: true }));
    assert.equal(inherited.get('lxc.namespace.clone'), 'mnt cgroup');
    // The monitor is in a network namespace of its own.
    assert.equal(inherited.get('lxc.namespace.share.net'), '/proc/self/fd/10');
    assert.equal(inherited.get('lxc.namespace.share.ipc'), undefined);
    assert.equal(inherited.get('lxc.apparmor.profile'), 'unchanged');
  });

  it('has these keys and no other: what liblxc is not told it cannot get wrong', () => {
    const keys = [...parse(buildLxcConfig(base, { appArmor: true })).keys()].sort();
    assert.deepEqual(keys, [
      'lxc.apparmor.profile',
      'lxc.autodev',
      'lxc.cgroup.dir.container',
      'lxc.cgroup.dir.monitor',
      'lxc.cgroup.dir.monitor.pivot',
      'lxc.cgroup.relative',
      'lxc.console.path',
      'lxc.hook.post-stop',
      'lxc.monitor.signal.pdeath',
      'lxc.mount.auto',
      'lxc.namespace.clone',
      'lxc.namespace.share.ipc',
      'lxc.namespace.share.net',
      'lxc.namespace.share.uts',
      'lxc.pty.max',
      'lxc.rootfs.managed',
      'lxc.rootfs.mount',
      'lxc.rootfs.path',
      'lxc.tty.max',
    ]);
  });

  it('names the places that the native side uses', () => {
    const monitor = readFileSync('native/shim/monitor.cc', 'utf8');
    assert.match(monitor, new RegExp(`kRootfs\\[\\] = "${ROOTFS_SPOT}"`));
    const gate = readFileSync('native/common/gate.h', 'utf8');
    assert.match(gate, new RegExp(`kHostNetworkFd = ${HOST_NETWORK_FD};`));
  });

  it('puts the payload one level below the outer cgroup', () => {
    const config = parse(buildLxcConfig(base, { appArmor: false }));
    assert.equal(config.get('lxc.cgroup.dir.container'), 'pod/c/lxc');
    assert.equal(config.get('lxc.cgroup.dir.monitor'), 'monitors/c');
    assert.equal(config.get('lxc.cgroup.dir.monitor.pivot'), 'pivot');
  });

  it('keeps every value on its line, or refuses it', () => {
    const keys = [...parse(buildLxcConfig(base, { appArmor: true })).keys()];
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('/a\nlxc.hook.start = /x', '/a\r', '/\0', ' /a', '/a ', '"/a"', "'/a'", ''),
    );
    fc.assert(
      fc.property(text, text, (path, group) => {
        for (const spec of [
          { ...base, namespaces: { ...base.namespaces, network: path } },
          { ...base, cgroup: { ...base.cgroup, outer: `/${group}` } },
        ]) {
          let config;
          try {
            config = buildLxcConfig(spec, { appArmor: true });
          } catch (error) {
            assert.ok(error instanceof RuntimeError && error.kind === 'invalid-argument');
            continue;
          }
          for (const key of parse(config).keys())
            assert.ok(keys.includes(key) || key.startsWith('lxc.namespace.share.'), key);
          assert.doesNotMatch(config.replaceAll('\n', ''), /[\u0000-\u001f\u007f]/);
        }
      }),
    );
  });

  it('refuses cgroups that are not plain paths', () => {
    for (const outer of ['', 'pod', '/', '/a//b', '/a/../b', '/./a', '/a/'])
      assert.throws(
        () => buildLxcConfig({ ...base, cgroup: { ...base.cgroup, outer } }, { appArmor: false }),
        {
          kind: 'invalid-argument',
        },
      );
  });

  it('joins a user namespace that has its maps already', () => {
    const map = {
      uids: { containerId: 0, hostId: 65536, length: 65536 },
      gids: { containerId: 0, hostId: 131072, length: 1000 },
    };
    const text = buildLxcConfig(
      { ...base, userNamespace: { path: '/ns/user', map } },
      { appArmor: false },
    );
    assert.match(text, /^lxc\.namespace\.share\.user = \/ns\/user$/m);
    assert.match(text, /^lxc\.idmap = u 0 65536 65536\nlxc\.idmap = g 0 131072 1000$/m);
  });
});
