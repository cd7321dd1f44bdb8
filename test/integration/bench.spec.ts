/** The benchmark prints lines a program can read, and leaves nothing behind, also when it is ended. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Containerd } from '../../bench/containerd.js';
import { commandLines } from '../../bench/processes.js';

interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** `onProgress` is told what it says on stderr. */
async function bench(
  args: string[],
  onProgress: (text: string, pid: number) => void = () => undefined,
): Promise<Run> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'bench/main.ts', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const run: Run = { code: null, stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (run.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => {
    run.stderr += chunk.toString();
    onProgress(run.stderr, child.pid ?? 0);
  });
  [run.code] = (await once(child, 'close')) as [number | null];
  return run;
}

/** Agents, containerds, shims and payloads of a run have its folder in their command lines or cgroups. */
function leftOf(pid: number): string[] {
  return [...commandLines()]
    .filter(([each]) => {
      try {
        return readFileSync(`/proc/${each}/cgroup`, 'utf8').includes(`pvecri-bench-${pid}`);
      } catch {
        return false; // it has ended
      }
    })
    .map(([each, line]) => `${each} ${line}`);
}

describe('scripts/bench', function () {
  this.timeout(60_000);

  it('measures a pod beside containerd, one line per figure', async function () {
    if (!Containerd.isInstalled()) {
      console.log('        containerd and runc are not installed');
      this.skip();
    }
    const { code, stdout, stderr } = await bench(['--rounds', '1', 'pod-start', 'exec-sync']);
    assert.equal(code, 0, stderr);
    const lines = stdout.trimEnd().split('\n');
    assert.deepEqual(
      lines.map((line) => line.split(' ')[0]),
      ['pod-start', 'exec-sync'],
    );
    for (const line of lines) {
      assert.match(line, /^[a-z-]+ ours=[\d.]+ peer=[\d.]+ ratio=[\d.]+ unit=ms$/);
    }
    assert.doesNotMatch(stderr, /left behind|cannot/);
  });

  it('prints JSON for programs, and knows its own names', async () => {
    const { code, stdout } = await bench(['--json', '--rounds', '1', 'overlay-mount']);
    assert.equal(code, 0);
    const figure = JSON.parse(stdout) as Record<string, unknown>;
    assert.deepEqual(Object.keys(figure), ['name', 'ours', 'peer', 'ratio', 'unit']);
    assert.equal(figure['name'], 'overlay-mount');
    const refused = await bench(['no-such-figure']);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /unknown: no-such-figure; there are pod-start, /);
  });

  it('removes what it has made when it is ended in the middle', async function () {
    if (!Containerd.isInstalled()) {
      console.log('        containerd and runc are not installed');
      this.skip();
    }
    let pid = 0;
    let ends: NodeJS.Timeout | undefined;
    const { code, stderr } = await bench(['--rounds', '1000', 'stop-remove'], (text, its) => {
      pid = its;
      if (!text.includes('StopPodSandbox')) return;
      // Wherever it is by then. The second one, of an impatient user, must not cut the removal short.
      ends ??= setTimeout(() => process.kill(its, 'SIGTERM'), 2500);
      if (text.includes('ending')) process.kill(its, 'SIGTERM');
    });
    clearTimeout(ends);
    assert.equal(code, 1);
    assert.match(stderr, /ended by SIGTERM/);
    assert.doesNotMatch(stderr, /left behind|cannot/);
    assert.deepEqual(leftOf(pid), []);
  });
});
