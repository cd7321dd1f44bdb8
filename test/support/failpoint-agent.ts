/** An agent that can be killed at a numbered point of a call: see failpoints.ts. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { transformSync } from 'esbuild';
import { TestAgent } from './agent.js';
import { until } from './processes.js';

export class FailpointAgent extends TestAgent {
  readonly #folder = join(this.folder, 'failpoints');

  constructor() {
    super('', 'info');
    mkdirSync(this.#folder);
    this.#chainSecondPlugin();
    this.env['PVECRI_FAILPOINT_FOLDER'] = this.#folder;
    // To JavaScript beforehand: a loader that does it in the agent would double the time of its start.
    const { code } = transformSync(readFileSync('test/support/failpoints.ts'), { loader: 'ts' });
    const module = join(this.#folder, 'failpoints.mjs');
    writeFileSync(module, code);
    this.env['NODE_OPTIONS'] = `--import=${module}`;
  }

  /** The points that `call` passes, by name, in order. */
  async points(call: () => Promise<unknown>): Promise<string[]> {
    await this.#arm(0);
    await call();
    const file = join(this.#folder, 'passed');
    return existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [];
  }

  /**
   * Makes the call, which kills the agent at the point of that number, and starts the next one.
   * Answers the point's name; undefined when the call ended before it got there.
   */
  async killAt(point: number, call: () => Promise<unknown>): Promise<string | undefined> {
    await this.#arm(point);
    const hit = join(this.#folder, 'hit');
    await call().catch((error: unknown) => {
      if (!existsSync(hit)) throw error;
    });
    // What comes after the answer may be the last point.
    const name = existsSync(hit) ? readFileSync(hit, 'utf8') : undefined;
    await this.restart();
    return name;
  }

  /** kill -9, and the next life. */
  async restart(between: () => unknown = () => undefined): Promise<void> {
    await this.stop('SIGKILL');
    await between();
    this.output = '';
    await this.start();
  }

  /** So that there is a moment between two plugins of a chain. */
  #chainSecondPlugin(): void {
    const file = join(this.confDir, '10-test.conflist');
    const conflist = JSON.parse(readFileSync(file, 'utf8')) as { plugins: object[] };
    conflist.plugins.push({ type: 'tuning', mtu: 1400 });
    writeFileSync(file, JSON.stringify(conflist));
  }

  async #arm(point: number): Promise<void> {
    for (const name of ['hit', 'passed']) rmSync(join(this.#folder, name), { force: true });
    const file = join(this.#folder, 'arm');
    writeFileSync(file, `${point}`);
    process.kill(this.pid, 'SIGUSR2');
    await until(() => !existsSync(file));
  }
}
