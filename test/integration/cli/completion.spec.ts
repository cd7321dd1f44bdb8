/** Completion as a shell does it: bash itself, the script it was given, and a real agent. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { TestAgent } from '../../support/agent.js';
import { pvecri } from './command.js';

/** Presses Tab at the end of a line, and prints what bash would show. */
const TAB = `
. <(pvecri completion bash)
COMP_LINE=$1 COMP_POINT=\${#1}
_pvecri
printf '%s\\n' "\${COMPREPLY[@]}"
`;

describe('completion', () => {
  let agent: TestAgent;
  let path: string;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    path = join(agent.folder, 'path');
    mkdirSync(path);
    const command = `#!/bin/sh\nexec ${process.execPath} ${resolve('dist/pvecri.js')} "$@"\n`;
    writeFileSync(join(path, 'pvecri'), command, { mode: 0o755 });
    assert.equal((await pvecri(agent, ['pull', agent.busyboxReference()])).code, 0);
    const manifest = stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web' },
      spec: {
        containers: [
          { name: 'proxy', image: 'example.org/busybox:1', command: ['sleep', '1000'] },
          { name: 'cache', image: 'example.org/busybox:1', command: ['sleep', '1000'] },
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

  function tab(line: string): string[] {
    const output = execFileSync('bash', ['--norc', '-c', TAB, 'bash', line], {
      encoding: 'utf8',
      timeout: 20_000,
      env: { PATH: `${path}:/usr/bin:/bin` },
    });
    return output.split('\n').filter((word) => word !== '');
  }

  it('completes commands, options and their values', () => {
    assert.deepEqual(tab('pvecri sta'), ['stats']);
    assert.deepEqual(tab('pvecri stats --s'), ['--sort', '--socket']);
    assert.deepEqual(tab('pvecri stats --sort m'), ['memory']);
    assert.deepEqual(tab('pvecri completion '), ['bash', 'zsh', 'fish']);
    assert.deepEqual(tab('pvecri zzz '), []);
  });

  it('completes names of what the agent has', () => {
    const line = (rest: string): string => `pvecri --config ${agent.configFile} ${rest}`;
    assert.deepEqual(tab(line('exec web/p')), ['web/proxy']);
    assert.deepEqual(tab(line('logs ')).toSorted(), ['web/cache', 'web/proxy']);
    assert.deepEqual(tab(line('stop ')).toSorted(), ['web', 'web/cache', 'web/proxy']);
    assert.deepEqual(tab(line('ps --pod ')), ['web']);
    // bash splits words at the colon: only what follows it is its to replace.
    assert.deepEqual(tab(line('rmi example.org/busybox:')), ['1']);
    assert.deepEqual(tab(line('rmi exam')), ['example.org/busybox:1']);
  });

  it('completes names of files where a file is wanted', () => {
    assert.deepEqual(tab(`pvecri run ${agent.folder}/conf`), [agent.configFile]);
  });

  it('is silent when there is no agent', () => {
    assert.deepEqual(tab('pvecri --socket /nowhere/sock exec '), []);
    assert.deepEqual(tab('pvecri --config /nowhere.toml exec '), []);
  });
});
