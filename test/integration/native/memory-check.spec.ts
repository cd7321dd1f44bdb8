import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { findCgroup2Mount } from '../../../src/cgroup/cgroup2-mount.js';
import { mountsBelow } from '../../support/descriptors.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

/** What the addon consists of where it does not speak to JavaScript. */
const SOURCES = [
  'clone_child',
  'user_namespace',
  'loopback_connection',
  'spawn_process',
  'exit_poller',
  'overlay_mount',
  'context_log',
  'idmapped_layers',
  'private_namespace',
  'project_quota',
  'namespaces',
  'sysctl',
  'cgroup_files',
  'seccomp_filter',
];

describe('the native code under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer', () => {
  it('spawns, watches, mounts, pins, reads and compiles without a fault or a leak', function () {
    this.timeout(240_000);
    if (!existsSync('/usr/bin/g++')) this.skip();
    const project = resolve(import.meta.dirname, '../../..');
    const cgroup2 = findCgroup2Mount(readFileSync('/proc/self/mountinfo', 'utf8'));
    assert.ok(cgroup2 !== undefined);
    const folder = makeTempFolder();
    const program = join(folder, 'harness');
    const work = join(folder, 'work');
    mkdirSync(work);
    try {
      execFileSync('g++', [
        ...['-std=c++20', '-O0', '-g1', '-Wall', '-Wextra', '-Werror'],
        ...['-Wno-missing-field-initializers', '-fsanitize=address,undefined'],
        ...['-fno-sanitize-recover=all', `-I${join(project, 'native')}`, '-o', program],
        join(import.meta.dirname, 'sanitizer-harness.cc'),
        ...SOURCES.map((name) => join(project, 'native/addon', `${name}.cc`)),
        ...['-lseccomp', '-lpthread'],
      ]);
      const result = spawnSync(program, [work, cgroup2], { encoding: 'utf8', timeout: 60_000 });
      assert.deepEqual([result.status, result.stdout], [0, 'clean\n'], result.stderr);
      assert.equal(mountsBelow(folder), 0);
    } finally {
      removeTempFolder(folder);
    }
  });
});
