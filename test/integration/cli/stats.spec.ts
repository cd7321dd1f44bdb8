/** Live figures: again and again until Ctrl-C, in place on a terminal. */
import assert from 'node:assert/strict';
import { stringify } from 'yaml';
import { TestAgent } from '../../support/agent.js';
import { pvecri } from './command.js';
import type { Run, RunOptions } from './command.js';

const CLEAR = '\u001b[2J';
const HOME = '\u001b[H';

describe('live stats', () => {
  let agent: TestAgent;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    assert.equal((await pvecri(agent, ['pull', agent.busyboxReference()])).code, 0);
    const container = (name: string, script: string): object => ({
      name,
      image: 'example.org/busybox:1',
      command: ['sh', '-c', script],
    });
    const manifest = stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web' },
      spec: {
        containers: [
          container('idle', 'exec sleep 1000'),
          container('busy', 'while :; do usleep 1000; done'),
        ],
      },
    });
    const run = await pvecri(agent, ['run', '-', '--log-dir', agent.logs], { stdin: manifest });
    assert.equal(run.code, 0, run.stderr);
  });

  after(async () => {
    await pvecri(agent, ['rm', '-f', 'web']);
    assert.deepEqual(await agent.close(), []);
  });

  /** Presses Ctrl-C when the output is as wanted. */
  async function until(
    enough: (stdout: string) => boolean,
    args: string[],
    options: RunOptions = {},
  ): Promise<Run> {
    const controller = new AbortController();
    const signal = AbortSignal.any([controller.signal, AbortSignal.timeout(15_000)]);
    const result = await pvecri(agent, args, {
      ...options,
      signal,
      onOutput: (text) => {
        if (enough(text)) controller.abort();
      },
    });
    assert.ok(enough(result.stdout), `${result.stdout}\n${result.stderr}`);
    return result;
  }

  it('repaints the screen of a terminal, and ends well with Ctrl-C', async () => {
    const frames = (text: string): string[] => text.split(HOME).slice(1);
    const { code, stdout } = await until(
      (text) => frames(text).length > 3,
      ['stats', '--interval', '200ms'],
      { rows: 40 },
    );
    assert.equal(code, 0);
    assert.equal(stdout.split(CLEAR).length, 2, 'cleared once');
    for (const frame of frames(stdout).slice(0, 3)) {
      assert.match(frame, /^CONTAINER .*\n.* (idle|busy) .*\n.* (idle|busy) .*\n/);
    }
  });

  it('shows no more lines than the terminal has', async () => {
    const { stdout } = await until(
      (text) => text.includes('CONTAINER'),
      ['stats', '--interval', '200ms'],
      { rows: 3 },
    );
    assert.equal((/\u001b\[H([^]*?)\u001b\[J/.exec(stdout)?.[1] ?? '').split('\n').length - 1, 2);
  });

  it('goes on without a terminal when told to, also as documents', async () => {
    const text = await until(
      (output) => output.split('CONTAINER').length > 3,
      ['stats', '-w', '--interval', '200ms', '--sort', 'name'],
    );
    assert.ok(!text.stdout.includes('\u001b'));
    assert.match(text.stdout, /^CONTAINER.*\n.* busy .*\n.* idle .*\n\nCONTAINER/);
    const json = await until(
      (output) => output.split('\n').length > 3,
      ['stats', '-w', '--json', '--interval', '200ms', 'web/idle'],
    );
    for (const line of json.stdout.split('\n').slice(0, 3)) {
      const [stats, ...others] = JSON.parse(line) as { name: string }[];
      assert.deepEqual([stats?.name, others.length], ['idle', 0]);
    }
  });

  it('looks once with --no-stream, and where stdout is no terminal', async () => {
    for (const options of [{ rows: 40 }, {}]) {
      const args = ['stats', '--sort', 'cpu', ...(options.rows ? ['--no-stream'] : [])];
      const { code, stdout } = await pvecri(agent, args, options);
      assert.equal(code, 0);
      assert.equal(stdout.split('CONTAINER').length, 2);
      assert.ok(!stdout.includes(HOME));
    }
  });

  it('ends when what it was to watch has ended', async () => {
    const watching = pvecri(agent, ['stats', '-w', '--interval', '200ms', 'web/idle'], {
      signal: AbortSignal.timeout(20_000),
    });
    assert.equal((await pvecri(agent, ['stop', '--timeout', '0s', 'web/idle'])).code, 0);
    const { code, stderr } = await watching;
    assert.equal(code, 0);
    assert.match(stderr, /none of these containers runs any more/);
  });

  it('refuses what makes no sense', async () => {
    for (const args of [
      ['--interval', '1ms'],
      ['--watch', '--no-stream'],
      ['--sort', 'colour'],
    ]) {
      const { code, stderr } = await pvecri(agent, ['stats', ...args]);
      assert.equal(code, 2, stderr);
    }
  });
});
