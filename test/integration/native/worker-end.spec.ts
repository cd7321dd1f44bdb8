import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { Cgroup2Tree } from '../../../src/cgroup/cgroup-tree.js';
import { libexecDir, loadAddon } from '../../../src/native/binding.js';
import { mountsBelow } from '../../support/descriptors.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

/** Runs in a worker: watches, sweeps, pins and asks for containers without end. */
const WORKER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { writeFileSync } = require('node:fs');
  const addon = require(workerData.addon);
  const sweeper = new addon.CgroupSweeper();
  for (let i = 0; i < 50; i += 1) sweeper.add(i, workerData.cgroup, i % 2 === 0);
  const forever = async (work) => { for (;;) await work(); };
  forever(() => sweeper.sweep(Float64Array.from({ length: 50 }, (_, i) => i)));
  let token = 0;
  const watcher = new addon.ExitWatcher(() => watch());
  const watch = async () => {
    const { pidfd } = await addon.spawn({ file: '/bin/true', argv: ['true'], env: [], fds: [-1, -1, -1] });
    watcher.add(pidfd, token++);
    require('node:fs').closeSync(pidfd);
  };
  for (let i = 0; i < 4; i += 1) watch();
  let pin = 0;
  forever(() => {
    const net = workerData.folder + '/' + workerData.round + '-' + pin++;
    writeFileSync(net, '');
    return addon.pinNamespaces({ net });
  });
  forever(() => addon.lxcState('/var/lib/lxc', 'none'));
  parentPort.postMessage('at work');
`;

/** The program around it: ends each worker somewhere in its work, and ends well itself. */
const PROGRAM = `
  const { Worker } = require('node:worker_threads');
  const data = JSON.parse(process.argv[1]);
  (async () => {
    for (let round = 0; round < 25; round += 1) {
      const worker = new Worker(data.source, { eval: true, workerData: { ...data, round } });
      worker.on('error', (error) => { console.log(error); process.exit(3); });
      // Every other one before it is at work, perhaps, however slow the machine.
      await new Promise((resolve) => worker.once(round % 2 ? 'online' : 'message', resolve));
      await new Promise((resolve) => setTimeout(resolve, round * 6));
      await worker.terminate();
    }
    console.log('all ended');
  })();
`;

describe('the end of a worker thread', () => {
  for (const [where, prelude] of [
    ['that alone uses the addon', ''],
    ['beside a main thread that uses it', `require(JSON.parse(process.argv[1]).addon);`],
  ] as const) {
    it(`${where}: with a watch, a sweep, a pin and a question under way`, () => {
      const addon = loadAddon();
      const tree = new Cgroup2Tree({ addon });
      const cgroup = join(tree.root, `pvecri-test-worker-${process.pid}`);
      tree.close();
      const folder = makeTempFolder();
      mkdirSync(cgroup);
      try {
        const data = { source: WORKER, addon: `${libexecDir()}/pvecri.node`, cgroup, folder };
        const result = spawnSync(
          process.execPath,
          ['-e', prelude + PROGRAM, JSON.stringify(data)],
          {
            encoding: 'utf8',
            timeout: 50_000,
          },
        );
        assert.deepEqual(
          [result.status, result.signal, result.stdout],
          [0, null, 'all ended\n'],
          result.stderr,
        );
        assert.ok(readdirSync(folder).length > 10, 'the workers did their work');
      } finally {
        // A pin that its worker did not live to see stands, as after a kill of the agent.
        for (const name of readdirSync(folder)) addon.unmount(join(folder, name));
        assert.equal(mountsBelow(folder), 0);
        removeTempFolder(folder);
        rmdirSync(cgroup);
      }
    });
  }
});
