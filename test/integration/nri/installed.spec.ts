/** Plugins that the agent starts by itself, and the default validator. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NriAgent } from '../../support/nri-agent.js';

describe('NRI plugins that are installed', function () {
  this.timeout(120_000);
  const nri = new NriAgent(
    'disable_connections = true\n[nri.default_validator]\nenable = true\n' +
      'required_plugins = ["steady"]\nreject_oci_hook_adjustment = true\n' +
      'tolerate_missing_plugins_annotation = "tolerate"',
  );
  const { agent, client, folder } = nri;
  const notes = (name: string): string[] =>
    readFileSync(join(folder, name), 'utf8').trim().split('\n');
  const pidOf = (name: string): string => /\d\d-\S+ (\d+)/.exec(notes(name).join(' '))?.[1] ?? '';

  before(async () => {
    for (const name of ['plugins', 'conf.d']) mkdirSync(join(folder, name));
    const install = (name: string, script: string): void => {
      writeFileSync(join(folder, 'plugins', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    };
    const program = (mode: string): string =>
      `cd ${process.cwd()} && exec ${process.execPath} --import tsx test/support/installed-nri-plugin.ts ${mode}`;
    install('10-steady', program(''));
    install('20-stays', program('stay'));
    install('30-silent', 'exec sleep 100');
    install('40-ends', 'exit 3');
    install('no-digits', program(''));
    install('50-not-roots', program(''));
    chmodSync(join(folder, 'plugins', '50-not-roots'), 0o777);
    writeFileSync(join(folder, 'plugins', 'README'), 'no program', { mode: 0o644 });
    writeFileSync(join(folder, 'conf.d', '10-steady.conf'), join(folder, 'steady'));
    writeFileSync(join(folder, 'conf.d', 'steady.conf'), join(folder, 'wrong'));
    writeFileSync(join(folder, 'conf.d', 'stays.conf'), join(folder, 'stays'));
    await nri.start();
  });

  afterEach(() => nri.clear());
  after(async () => {
    const pids = ['steady', 'stays'].map(pidOf);
    const start = Date.now();
    assert.deepEqual(await nri.close(), []);
    assert.ok(Date.now() - start < 15_000);
    for (const pid of pids) assert.ok(pid !== '' && !existsSync(`/proc/${pid}`), `process ${pid}`);
  });

  it('are started with their configuration before anything is answered; the others are named in the log', async () => {
    const pod = await client.run('installed');
    assert.equal(await client.output(pod, 'echo it runs'), 'it runs');
    for (const name of ['steady', 'stays']) {
      assert.match(notes(name).join(), new RegExp(`[12]0-${name} `));
      assert.ok(notes(name).includes('CreateContainer'));
    }
    assert.ok(!existsSync(join(folder, 'wrong')));
    for (const message of [
      /passed over[^\n]*no-digits[^\n]*not NN-NAME/,
      /passed over[^\n]*50-not-roots[^\n]*others than root can change it/,
      /did not get in[^\n]*30-silent[^\n]*did not register within/,
      /did not get in[^\n]*40-ends/,
    ])
      assert.match(agent.output, message);
    assert.doesNotMatch(agent.output, /README/);
    assert.ok(!existsSync(nri.socket));
    await client.removePod(pod);
  });

  it('are asked for by the default validator, which a pod may do without', async () => {
    process.kill(Number(pidOf('steady')), 'SIGKILL');
    const pod = await client.run('required');
    await assert.rejects(
      client.create(pod, 'true'),
      /default validator rejects[^]*required plugins are not connected: steady/,
    );
    const tolerant = await client.run('tolerant', {
      annotations: new Map([['tolerate/pod', 'true']]),
    });
    assert.equal(await client.output(tolerant, 'echo it runs'), 'it runs');
    for (const id of [pod, tolerant]) await client.removePod(id);
  });
});
