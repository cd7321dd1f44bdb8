/** A reload applies what is reloadable and names the rest. */
import assert from 'node:assert/strict';
import { diffConfig } from '../../../src/config/diff.js';
import { configKeys, configSchema } from '../../../src/config/schema.js';

describe('diffConfig', () => {
  const current = configSchema.parse({});

  it('finds nothing between equal configurations', () => {
    assert.deepEqual(diffConfig(current, configSchema.parse({})), {
      apply: [],
      needsRestart: [],
      effective: current,
    });
  });

  it('separates reloadable keys from the others and leaves the current one alone', () => {
    const next = configSchema.parse({
      root: '/elsewhere',
      log: { level: 'debug' },
      streaming: { port: 9 },
      network: { conf_dir: '/n', bin_dirs: ['/b'] },
      images: { hosts_dir: '/h' },
    });
    const { apply, needsRestart, effective } = diffConfig(current, next);
    assert.deepEqual(apply, [
      'log.level',
      'images.hosts_dir',
      'network.conf_dir',
      'network.bin_dirs',
    ]);
    assert.deepEqual(needsRestart, ['root', 'streaming.port']);
    assert.deepEqual(effective, { ...next, root: current.root, streaming: current.streaming });
    assert.equal(current.log.level, 'info');
  });

  it('knows of every key whether it is reloadable', () => {
    assert.deepEqual(
      configKeys.filter((key) => key.reloadable).map((key) => key.path),
      [
        'log.level',
        'images.hosts_dir',
        'images.policy',
        'images.local_sources',
        'network.conf_dir',
        'network.bin_dirs',
        'devices.enable_cdi',
        'devices.cdi_spec_dirs',
      ],
    );
  });
});
