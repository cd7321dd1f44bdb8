/** The host's AppArmor: what is loaded, and the loading of the default profile. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import {
  APPARMOR_PARSER,
  DEFAULT_APPARMOR_PROFILE,
  DEFAULT_APPARMOR_TEXT,
} from '../core/apparmor-profile.js';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { runProcess, type ProcessSpawner } from '../native/process.js';

const PARAMETER = '/sys/module/apparmor/parameters/enabled';
/** One line per profile: `NAME (enforce)`. */
const LOADED = '/sys/kernel/security/apparmor/profiles';
const LOAD_MS = 30_000;

export function hasAppArmor(): boolean {
  try {
    return readFileSync(PARAMETER, 'utf8').startsWith('Y');
  } catch {
    return false; // no such file: a kernel without it
  }
}

export class HostAppArmor {
  readonly enabled = hasAppArmor();
  readonly #spawner: ProcessSpawner;
  #loading: Promise<void> | undefined;

  constructor(spawner: ProcessSpawner) {
    this.#spawner = spawner;
  }

  async isLoaded(profile: string): Promise<boolean> {
    let text: string;
    try {
      text = await readFile(LOADED, 'utf8');
    } catch (error) {
      throw wrap(
        error,
        'cannot tell which AppArmor profiles are loaded: securityfs must be mounted on /sys/kernel/security',
        'failed-precondition',
      );
    }
    return text.split('\n').some((line) => line.slice(0, line.lastIndexOf(' (')) === profile);
  }

  /** One at a time; the profile may be taken away at any moment, so it is looked for each time. */
  async loadDefault(): Promise<void> {
    if (await this.isLoaded(DEFAULT_APPARMOR_PROFILE)) return;
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    await this.#loading;
  }

  async #load(): Promise<void> {
    const what = `cannot load AppArmor profile ${DEFAULT_APPARMOR_PROFILE}`;
    let result;
    try {
      result = await runProcess(this.#spawner, {
        file: APPARMOR_PARSER,
        argv: ['apparmor_parser', '--replace'],
        env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL=C'],
        input: DEFAULT_APPARMOR_TEXT,
        timeoutMs: LOAD_MS,
      });
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw wrap(error, what);
      throw new RuntimeError(
        'failed-precondition',
        `${what}: ${APPARMOR_PARSER} is missing: install package apparmor`,
        error,
      );
    }
    if (result.status.code === 0) return;
    const words = result.stderr.toString('utf8').trim().split('\n').at(-1) ?? '';
    throw new RuntimeError('failed-precondition', `${what}: apparmor_parser says: ${words}`);
  }
}
