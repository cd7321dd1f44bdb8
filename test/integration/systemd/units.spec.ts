/** The units are what systemd understands, and nothing in them confines shims and payloads. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configSchema } from '../../../src/config/schema.js';
import { withTempFolder } from '../../support/temp.js';

const UNITS = ['pvecri.service', 'pvecri.socket'] as const;
const read = (name: string) =>
  readFileSync(join(import.meta.dirname, '../../../systemd', name), 'utf8');
const settings = (name: string) =>
  new Map(
    [...read(name).matchAll(/^(\w+)=(.*)$/gm)].map(([, key = '', value = '']) => [key, value]),
  );

describe('systemd units', () => {
  it('pass systemd-analyze verify without a word', function () {
    if (spawnSync('systemd-analyze', ['--version']).error) this.skip();
    return withTempFolder((folder) => {
      for (const name of UNITS) {
        // The command need not be installed where the tests run.
        const text = read(name).replace('/usr/bin/pvecri agent', '/bin/true');
        writeFileSync(join(folder, name), text);
      }
      const files = UNITS.map((name) => join(folder, name));
      // Unknown keys are told, but do not change its exit code.
      // A minimal Debian has no man, which it would ask for the pages that the units name.
      const result = spawnSync('systemd-analyze', ['verify', '--man=no', ...files], {
        encoding: 'utf8',
      });
      assert.equal(result.stderr + result.stdout, '');
      assert.equal(result.status, 0);
    });
  });

  it('name the paths that are the defaults of the agent', () => {
    const { root, state, socket } = configSchema.parse({});
    assert.equal(settings('pvecri.socket').get('ListenStream'), socket);
    assert.equal(`/var/lib/${settings('pvecri.service').get('StateDirectory') ?? ''}`, root);
    assert.equal(`/run/${settings('pvecri.service').get('RuntimeDirectory') ?? ''}`, state);
  });

  it('let pods outlive the agent, and keep others off its socket', () => {
    const service = settings('pvecri.service');
    assert.equal(service.get('KillMode'), 'process');
    assert.equal(service.get('Delegate'), 'yes');
    assert.equal(service.get('RuntimeDirectoryPreserve'), 'yes');
    assert.equal(service.get('NotifyAccess'), 'all');
    assert.equal(settings('pvecri.socket').get('SocketMode'), '0600');
    assert.equal(settings('pvecri.socket').get('DirectoryMode'), '0700');
  });

  it('set nothing that gives a mount namespace or is inherited for good', () => {
    const comment = read('pvecri.service').replace(/^# ?/gm, '');
    const named = comment
      .slice(comment.indexOf('Sandboxing stays off'), comment.indexOf('Each container gets'))
      .match(/\b[A-Z][A-Za-z]*[a-z][A-Z]\w+/g);
    assert.ok(named !== null && named.includes('PrivateTmp') && named.includes('NoNewPrivileges'));
    const service = settings('pvecri.service');
    const forbidden = [
      ...named,
      ...['User', 'Group', 'MountAPIVFS', 'BindReadOnlyPaths', 'ExecPaths', 'ExtensionImages'],
      ...['DevicePolicy', 'DeviceAllow', 'RestrictFileSystems', 'SecureBits', 'RemoveIPC'],
    ];
    for (const key of forbidden) assert.equal(service.has(key), false, key);
  });
});
