/** Project quotas: one project for each writable layer, for exact figures and for limits. */
import { randomInt } from 'node:crypto';
import { RuntimeError, wrap } from '../core/errors.js';
import type { NativeAddon, ProjectUsage } from '../native/binding.js';
import type { MountedFilesystem } from '../util/mountinfo.js';

export type QuotaAddon = Pick<
  NativeAddon,
  'quotaState' | 'projectOf' | 'setProject' | 'setProjectLimit' | 'projectUsages' | 'listProjects'
>;

export interface ProjectQuotasOptions {
  addon: QuotaAddon;
  /** Folder of the writable layers. */
  root: string;
  filesystem: MountedFilesystem;
  /** Of each writable layer; 0 for none. */
  limitBytes: number;
}

/** Ids of our own; the kubelet takes its from 1048577 on, people from 1 on. */
const FIRST = 0x5000_0000;
const LAST = 0x5fff_ffff;
const ATTEMPTS = 100;

interface Question {
  id: number;
  resolve: (usage: ProjectUsage) => void;
  reject: (error: unknown) => void;
}

/**
 * Which project a layer has is told by its folder alone, so there is nothing to lose in a crash.
 */
export class ProjectQuotas {
  readonly #addon: QuotaAddon;
  readonly #root: string;
  readonly #limitBytes: number;
  /** Asked for at one moment: answered by one call. */
  #questions: Question[] = [];

  private constructor({ addon, root, limitBytes }: ProjectQuotasOptions) {
    this.#addon = addon;
    this.#root = root;
    this.#limitBytes = limitBytes;
  }

  /** undefined where the file system does not count; an error when it could not keep a limit. */
  static async open(options: ProjectQuotasOptions): Promise<ProjectQuotas | undefined> {
    const { addon, root, limitBytes } = options;
    const state = await addon.quotaState(root);
    if (limitBytes > 0 && !state.enforced) throw cannotLimit(options);
    return state.accounted ? new ProjectQuotas(options) : undefined;
  }

  /** Takes away the limits of projects that own nothing: a killed agent may have left some. */
  async sweep(): Promise<void> {
    for (const { id, inodesUsed } of await this.#addon.listProjects(this.#root, FIRST, LAST)) {
      if (inodesUsed === 0) await this.release(id);
    }
  }

  /** Gives a folder that is new and empty a project of its own. */
  async assign(folder: string): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const id = randomInt(FIRST, LAST + 1);
      const before = await this.usage(id);
      if (before.inodesUsed > 0 || before.limitBytes > 0) continue;
      await this.#addon.setProject(folder, id);
      // Another agent on this file system may have hit upon the same one: then both take a new one.
      if ((await this.usage(id)).inodesUsed !== 1) continue;
      if (this.#limitBytes > 0) {
        await this.#addon.setProjectLimit(this.#root, id, this.#limitBytes);
      }
      return id;
    }
    throw new RuntimeError('resource-exhausted', `no project id is free for ${folder}`);
  }

  /** undefined for a folder without a project of ours. */
  async projectOf(folder: string): Promise<number | undefined> {
    const id = await this.#addon.projectOf(folder);
    return id >= FIRST && id <= LAST ? id : undefined;
  }

  /** Once its folder is gone. */
  async release(id: number): Promise<void> {
    await this.#addon.setProjectLimit(this.#root, id, 0);
  }

  usage(id: number): Promise<ProjectUsage> {
    return new Promise((resolve, reject) => {
      if (this.#questions.push({ id, resolve, reject }) > 1) return;
      setImmediate(() => {
        const questions = this.#questions;
        this.#questions = [];
        void this.#answer(questions);
      });
    });
  }

  async #answer(questions: readonly Question[]): Promise<void> {
    try {
      const ids = questions.map(({ id }) => id);
      const usages = await this.#addon.projectUsages(this.#root, ids);
      for (const [i, { id, resolve }] of questions.entries()) {
        resolve(usages[i] ?? { id, usedBytes: 0, inodesUsed: 0, limitBytes: 0 });
      }
    } catch (error) {
      const wrapped = wrap(error, `cannot read the quotas of ${this.#root}`);
      for (const { reject } of questions) reject(wrapped);
    }
  }
}

function cannotLimit({ root, filesystem }: ProjectQuotasOptions): RuntimeError {
  const { type, mountpoint, source } = filesystem;
  const remedies: Record<string, string> = {
    ext4: `unmount it, "tune2fs -O project,quota ${source}", and mount it with the option prjquota`,
    xfs: 'mount it with the option prjquota; for the root file system boot with rootflags=prjquota',
  };
  const remedy = remedies[type] ?? 'put the folder "root" on ext4 or XFS with project quotas';
  return new RuntimeError(
    'failed-precondition',
    `rootfs.size_limit cannot be kept: ${root} lies on ${type} (mounted at ${mountpoint}) without project quotas: ${remedy}, or set rootfs.size_limit to "0"`,
  );
}
