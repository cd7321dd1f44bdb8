/** The demo as its user runs it, but for the set-up: the command must have been built. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';

const DEMO = ['--import', 'tsx', 'scripts/demo-run.ts'];

function demo(...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...DEMO, ...args], {
    encoding: 'utf8',
  });
  return { status, output: stderr + stdout };
}

function folderOf(output: string): string {
  const [folder] = /\/\S*pvecri-demo-\w+/.exec(output) ?? [];
  assert.ok(folder, output);
  return folder;
}

describe('the demo', () => {
  before(() => {
    assert.ok(existsSync('dist/pvecri.js'), 'run scripts/setup first: dist/pvecri.js is not built');
  });

  it('runs a pod and leaves nothing', () => {
    const { status, output } = demo();
    assert.equal(status, 0, output);
    assert.match(output, /its page, .*<h1>Hello from web at 10\.88\.0\.2<\/h1>/);
    assert.match(output, /All of it worked, and nothing is left\.\n$/);
    assert.equal(existsSync(folderOf(output)), false);
  });

  it('keeps the agent when it is asked to, and ends it later', () => {
    const kept = demo('--keep');
    assert.equal(kept.status, 0, kept.output);
    const folder = folderOf(kept.output);
    const ps = spawnSync(process.execPath, [
      'dist/pvecri.js',
      '--config',
      `${folder}/config.toml`,
      'ps',
      '-q',
    ]);
    assert.equal(String(ps.stdout).trim().split('\n').length, 2);
    const ended = demo('--end', folder);
    assert.equal(ended.status, 0, ended.output);
    assert.doesNotMatch(ended.output, /LEFT/);
    assert.equal(existsSync(folder), false);
  });

  it('clears up when it is interrupted', async () => {
    const child = spawn(process.execPath, DEMO, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    for await (const chunk of child.stdout) {
      output += String(chunk);
      if (output.includes('$ pvecri run') && !child.killed) child.kill('SIGINT');
    }
    const code = child.exitCode ?? ((await once(child, 'exit')) as [number | null])[0];
    assert.equal(code, 130, output);
    assert.match(output, /demo: interrupted/);
    assert.doesNotMatch(output, /LEFT/);
    assert.equal(existsSync(folderOf(output)), false);
  });
});
