/** Long steps: who runs what, how long it took, and the output of what failed. */
import { spawnSync, type SpawnSyncOptions } from 'node:child_process';

export function say(text: string): void {
  console.error(`node: ${text}`);
}

/** Does something and tells how long it took. */
export function timed<T>(what: string, work: () => T): T {
  const start = performance.now();
  const tell = () => {
    say(`${what}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
  };
  const result = work();
  if (result instanceof Promise) return result.finally(tell) as T;
  tell();
  return result;
}

/** Runs a program to its end; its output is in the error when it fails. */
export function run(program: string, args: string[], options: SpawnSyncOptions = {}): void {
  // Does not go on alone when this process is killed.
  const bound = ['--pdeathsig', 'TERM', program, ...args];
  const result = spawnSync('setpriv', bound, { ...options, encoding: 'utf8', stdio: 'pipe' });
  if (result.error) throw result.error;
  if (result.status !== 0) {
    const output = `${result.stdout}${result.stderr}`.trim().split('\n').slice(-40).join('\n');
    throw new Error(`${program} failed (${result.status ?? result.signal ?? ''}):\n${output}`);
  }
}
