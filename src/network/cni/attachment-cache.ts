/** What an attachment needs for its DEL, on disk from before its first plugin runs. */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { hasCode, wrap } from '../../core/errors.js';
import type { SandboxId } from '../../core/ids.js';
import type { PodNetwork } from '../../core/ports/network.js';
import type { UnreadableFile } from '../../core/ports/state.js';
import { isTemporaryName, writeFileSoon } from '../../util/atomic-file.js';
import { networkConfig } from './conflist.js';

const VERSION = 1;
const FILE = /^([0-9a-f]{64})\.json$/;

const attachment = z.strictObject({
  version: z.literal(VERSION),
  id: z.string(),
  netnsPath: z.string(),
  ifName: z.string(),
  args: z.string(),
  /** What the runtime offers to plugins that declare the capability. */
  runtimeConfig: z.record(z.string(), z.unknown()),
  network: networkConfig,
  /** null until the last ADD has returned. */
  result: z.record(z.string(), z.unknown()).nullable(),
});

export type Attachment = z.infer<typeof attachment>;

export type CachedAttachment =
  | { state: 'none' }
  | { state: 'found'; attachment: Attachment }
  | { state: 'newer'; path: string; version: number }
  | { state: 'corrupt'; path: string };

export class AttachmentCache {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Does not wait for the disk: neither do the plugins with their leases, which come later. After a
   * power cut a lease can be given back with this file's name alone ('corrupt').
   */
  async save(attachment: Attachment): Promise<void> {
    try {
      await this.#write(attachment);
    } catch (error) {
      throw wrap(error, `cannot save the network attachment of sandbox ${attachment.id}`);
    }
  }

  async read(id: string): Promise<CachedAttachment> {
    const path = this.#path(id);
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return { state: 'none' };
      throw wrap(error, `cannot read the network attachment of sandbox ${id}`);
    }
    return decode(text, path, id);
  }

  async #write(attachment: Attachment): Promise<void> {
    const path = this.#path(attachment.id);
    const content = JSON.stringify(attachment);
    try {
      await writeFileSoon(path, content);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await writeFileSoon(path, content);
    }
  }

  /** One that a power cut brings back is given back once more: DEL may be repeated. */
  async remove(id: string): Promise<void> {
    try {
      await rm(this.#path(id), { force: true });
    } catch (error) {
      throw wrap(error, `cannot remove the network attachment of sandbox ${id}`);
    }
  }

  /**
   * Sandboxes with an attachment, and those whose file is of a newer agent. Clears away what a killed
   * save or removal left.
   */
  async list(): ReturnType<PodNetwork['list']> {
    let names: string[];
    try {
      names = await readdir(this.#folder);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return { ids: [], unreadable: [] };
      throw wrap(error, `cannot list the network attachments in ${this.#folder}`);
    }
    for (const name of names) {
      const isLock = name.endsWith('.lock') && !names.includes(name.replace(/lock$/, 'json'));
      if (isTemporaryName(name) || isLock) await rm(join(this.#folder, name), { force: true });
    }
    const ids: SandboxId[] = [];
    const unreadable: UnreadableFile[] = [];
    for (const name of names) {
      const id = FILE.exec(name)?.[1];
      if (id === undefined) continue;
      const cached = await this.read(id);
      if (cached.state === 'newer') unreadable.push({ path: cached.path, reason: newer(cached) });
      else ids.push(id as SandboxId);
    }
    return { ids, unreadable };
  }

  #path(id: string): string {
    return join(this.#folder, `${id}.json`);
  }
}

function newer({ version }: { version: number }): string {
  return `it has version ${version}, written by a newer agent; this one reads version ${VERSION}`;
}

function decode(text: string, path: string, id: string): CachedAttachment {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { state: 'corrupt', path };
  }
  const header = z.looseObject({ version: z.int() }).safeParse(value);
  if (header.success && header.data.version > VERSION) {
    return { state: 'newer', path, version: header.data.version };
  }
  const result = attachment.safeParse(value);
  if (!result.success || result.data.id !== id) return { state: 'corrupt', path };
  return { state: 'found', attachment: result.data };
}
