/** The command as a process: signals, a reader that leaves, and a socket without an agent. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { TestAgent } from '../../support/agent.js';
import { withTempFolder } from '../../support/temp.js';
import { pvecri } from './command.js';

/** As it is installed: `npm run test:integration` bundles it first. */
const COMMAND = ['dist/pvecri.js'];

function pvecriProcess(...args: string[]): {
  status: number | null;
  stdout: string;
  stderr: string;
} {
  return spawnSync(process.execPath, [...COMMAND, ...args], { encoding: 'utf8' });
}

describe('the pvecri process', () => {
  it('prints its help and its version', () => {
    const { stdout, stderr, status } = pvecriProcess('--help');
    assert.equal(status, 0);
    assert.equal(stderr, '');
    assert.match(stdout, /^Usage: pvecri .*[^]*Exit codes:/);
    assert.match(pvecriProcess('--version').stdout, /^pvecri \d+\.\d+\.\d+\n$/);
  });

  it('ends with 4 and one line where no agent answers', async () => {
    await withTempFolder(async (folder) => {
      const socket = join(folder, 'none.sock');
      const absent = pvecriProcess('--socket', socket, 'ps');
      assert.equal(absent.status, 4);
      assert.equal(absent.stdout, '');
      assert.equal(
        absent.stderr,
        `pvecri: cannot reach the agent at ${socket}: there is no such socket; start it by: systemctl start pvecri\n`,
      );
      // A socket that was left behind by a process that was killed.
      const server = createServer();
      await new Promise<void>((done) => server.listen(socket, done));
      chmodSync(socket, 0o600);
      const left = spawnSync('ln', [socket, `${socket}.left`]);
      assert.equal(left.status, 0);
      await new Promise((done) => server.close(done));
      const { status, stderr } = pvecriProcess('--socket', `${socket}.left`, 'ps');
      assert.equal(status, 4);
      assert.match(stderr, /nothing listens there/);
    });
  });

  it('ends with 2 for wrong usage and a wrong configuration', async () => {
    await withTempFolder((folder) => {
      const config = join(folder, 'config.toml');
      writeFileSync(config, 'sokcet = "/x"\n');
      const { status, stderr } = pvecriProcess('--config', config, 'ps');
      assert.equal(status, 2, stderr);
      assert.match(stderr, /unknown key sokcet; the nearest known key is socket/);
    });
    const unknown = pvecriProcess('pss', '--json');
    assert.equal(unknown.status, 2);
    assert.match(unknown.stderr, /^pvecri: unknown command 'pss'.*\n$/);
    const { error } = JSON.parse(unknown.stdout) as { error: { kind: string } };
    assert.equal(error.kind, 'usage');
  });

  describe('with an agent', () => {
    let agent: TestAgent;

    before(async () => {
      agent = new TestAgent();
      await agent.start();
      const { code, stderr } = await pvecri(agent, ['pull', agent.busyboxReference()]);
      assert.equal(code, 0, stderr);
      const text = stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'web' },
        spec: {
          containers: [
            {
              name: 'main',
              image: 'example.org/busybox:1',
              command: ['sh', '-c', 'yes | head -n 200000; sleep 1000'],
            },
          ],
        },
      });
      const run = await pvecri(agent, ['run', '-', '--log-dir', agent.logs], { stdin: text });
      assert.equal(run.code, 0, run.stderr);
    });

    after(async () => {
      assert.equal((await pvecri(agent, ['rm', '-f', 'web'])).code, 0);
      assert.deepEqual(await agent.close(), []);
    });

    it('is silent when the reader of its output leaves', () => {
      const line = `"${process.execPath}" ${COMMAND.join(' ')} --config ${agent.configFile} logs web/main | head -n 1; echo "\${PIPESTATUS[0]}"`;
      const { stdout, stderr } = spawnSync('bash', ['-c', line], { encoding: 'utf8' });
      assert.equal(stderr, '');
      assert.equal(stdout, 'y\n0\n');
    });

    it('ends with 130 at Ctrl-C', async () => {
      const child = spawn(
        process.execPath,
        [...COMMAND, '--config', agent.configFile, 'logs', '-f', '--tail', '1', 'web/main'],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      );
      await once(child.stdout, 'data');
      child.kill('SIGINT');
      const [code] = (await once(child, 'exit')) as [number | null];
      assert.equal(code, 130);
    });
  });
});
