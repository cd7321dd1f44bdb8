/** Templates as images: from `pve://STORAGE:vztmpl/NAME` or a path to the source of an image. */
import { RuntimeError } from '../../core/errors.js';
import { openRegular } from '../archive/layout-files.js';
import type { ImageOrigin, ReadOrigin } from '../source/image-origin.js';
import type { ImageSource } from '../source/image-source.js';
import { templatePath } from './pve-storage.js';
import { TemplateDigestCache } from './digests.js';
import { fileReference, volumeReference } from './name.js';
import { isTemplate, TemplateSource, type TemplateTools } from './source.js';
import type { Unpack } from '../unpack/unpack-process.js';

export const STORAGE_CONFIG = '/etc/pve/storage.cfg';

export class ImageTemplates {
  readonly #tools: TemplateTools;
  readonly #storageConfig: string;

  constructor(options: { unpack: Unpack; temporaryFolder: string; storageConfig?: string }) {
    const { unpack, temporaryFolder, storageConfig = STORAGE_CONFIG } = options;
    const digests = new TemplateDigestCache(unpack, temporaryFolder);
    this.#tools = { unpack, digests, temporaryFolder };
    this.#storageConfig = storageConfig;
  }

  /** The file of a volume, which is there. What is in it is seen by whoever opens it. */
  async locate(origin: ImageOrigin): Promise<ReadOrigin> {
    if (origin.kind !== 'volume') return origin;
    const path = await templatePath(origin.volume, this.#storageConfig);
    const file = await openRegular(path);
    if (!file) throw new RuntimeError('not-found', `there is no template ${path}`);
    await file.close();
    return { kind: 'path', path, name: '', calledAs: volumeReference(origin.volume) };
  }

  /** undefined for what is no template. */
  async open(origin: ReadOrigin): Promise<ImageSource | undefined> {
    if (origin.kind !== 'path' || origin.name !== '') return undefined;
    const { path, calledAs = fileReference(path) } = origin;
    return (await isTemplate(path)) ? new TemplateSource(path, calledAs, this.#tools) : undefined;
  }
}
