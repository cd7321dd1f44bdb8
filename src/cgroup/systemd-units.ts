/** Slices and scopes of systemd: started, changed and stopped by its own commands. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeError, wrap } from '../core/errors.js';
import { runProcess, type ProcessSpawner } from '../native/process.js';
import { startHolder } from './scope-holder.js';

/** A job waits for others when the node boots or is busy. */
const JOB_MS = 30_000;
const HOLDER_MS = 10_000;
const MAX_TEXT = 4096;
/** systemctl's exit status, EXIT_NOTINSTALLED of LSB: there is no such unit. */
const NOT_LOADED = 5;
// Nothing of the agent's: NOTIFY_SOCKET and the like are not for others.
const ENV = ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL=C'];

export interface ScopeRequest {
  name: string;
  slice: string;
  /** Its cgroup, as a folder of the host. */
  folder: string;
  /** `CPUWeight=20` */
  properties: readonly string[];
}

export class SystemdUnits {
  readonly #spawner: ProcessSpawner;
  readonly #holder: string;

  constructor(options: { spawner: ProcessSpawner; libexecDir: string }) {
    this.#spawner = options.spawner;
    this.#holder = join(options.libexecDir, 'pvecri-pause');
  }

  /** Idempotent. Starts the slices above as well. */
  async startSlice(name: string): Promise<void> {
    await this.#systemctl(`start systemd slice ${name}`, 'start', name);
  }

  /** A slice or a scope, with whatever is in it. Idempotent. */
  async stop(name: string): Promise<void> {
    await this.#systemctl(`stop systemd ${name}`, 'stop', name);
  }

  /** They last as long as the scope. */
  async setProperties(scope: string, properties: readonly string[]): Promise<void> {
    const words = ['set-property', '--runtime', scope, ...properties];
    await this.#systemctl(`set ${properties.join(', ')} of systemd ${scope}`, ...words);
  }

  /** Makes a scope whose inside is ours, with its holder. */
  async startScope({ name, slice, folder, properties }: ScopeRequest): Promise<void> {
    const what = `start systemd scope ${name} in ${slice}`;
    const settings = [
      'Delegate=yes',
      // Otherwise a shutdown ends containers before the kubelet has had its say.
      'DefaultDependencies=no',
      // The pod's slice says how many; systemd's own default is 15 % of the host's.
      'TasksMax=infinity',
      // When an administrator or a shutdown stops the scope: as long as the kubelet gives a pod.
      'TimeoutStopSec=30s',
      ...properties,
    ].map((setting) => `--property=${setting}`);
    requireSystemd(what);
    const program = {
      file: '/usr/bin/systemd-run',
      // It becomes a process of the scope, waits for the job's end, and only then executes the rest.
      // --collect: a scope that failed, as by an OOM kill, goes as one that did not.
      argv: ['systemd-run', '--scope', '--quiet', '--collect', `--unit=${name}`, `--slice=${slice}`]
        .concat('--description=LXC containers of pvecri')
        .concat(settings)
        .concat('--', this.#holder, 'hold'),
      env: ENV,
      timeoutMs: JOB_MS,
    };
    await startHolder(this.#spawner, program, folder).catch((error: unknown) => {
      throw wrap(error, `cannot ${what}`);
    });
  }

  /** A new holder for a scope whose own was killed, but in which others run. */
  async holdAgain(folder: string): Promise<void> {
    const program = {
      file: this.#holder,
      argv: ['pvecri-pause', 'hold'],
      env: ENV,
      timeoutMs: HOLDER_MS,
    };
    await startHolder(this.#spawner, program, folder).catch((error: unknown) => {
      throw wrap(error, `cannot hold ${folder}`);
    });
  }

  async #systemctl(what: string, ...words: string[]): Promise<void> {
    requireSystemd(what);
    const { status, stderr } = await runProcess(this.#spawner, {
      file: '/usr/bin/systemctl',
      argv: ['systemctl', '--quiet', '--no-ask-password', ...words],
      env: ENV,
      timeoutMs: JOB_MS,
      maxOutputBytes: MAX_TEXT,
    }).catch((error: unknown) => {
      throw wrap(error, `cannot ${what}`);
    });
    if (status.code === 0 || (words[0] === 'stop' && status.code === NOT_LOADED)) return;
    const reason = stderr.toString().trim().split('\n')[0];
    throw new RuntimeError('unavailable', `cannot ${what}: ${reason || 'systemctl failed'}`);
  }
}

/** sd_booted(3): whether systemd is pid 1. */
export function isSystemdHost(): boolean {
  return existsSync('/run/systemd/system');
}

function requireSystemd(what: string): void {
  if (isSystemdHost()) return;
  throw new RuntimeError('failed-precondition', `cannot ${what}: systemd does not run this host`);
}
