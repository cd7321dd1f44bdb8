/** A Proxmox VE container template, or any root file system in a tar archive, as an image of one layer. */
import { stat, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { sha256Of } from '../../core/digest.js';
import { RuntimeError } from '../../core/errors.js';
import {
  formatImageReference,
  imageName,
  type ImageReference,
} from '../../core/image-reference.js';
import { platformsOf, type Descriptor } from '../../core/oci.js';
import { writeContent } from '../unpack/content-file.js';
import type { ImageSource, LayerRequest, RootDocument } from '../source/image-source.js';
import { openRegular } from '../archive/layout-files.js';
import { copyLayer } from '../archive/layout-source.js';
import { isLayoutArchive } from '../archive/tar-index.js';
import type { TemplateDigestCache, TemplateDigests } from './digests.js';
import type { Unpack } from '../unpack/unpack-process.js';

export interface TemplateTools {
  unpack: Unpack;
  digests: TemplateDigestCache;
  temporaryFolder: string;
}

const COMPRESSIONS = {
  gzip: [0x1f, 0x8b],
  xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
  zstd: [0x28, 0xb5, 0x2f, 0xfd],
  bzip2: [0x42, 0x5a, 0x68],
} as const;
type Compression = keyof typeof COMPRESSIONS | '';

const OCI = 'application/vnd.oci.image.';
/** What Proxmox VE calls architectures in the names of templates, and what OCI calls them. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  amd64: 'amd64',
  x86_64: 'amd64',
  i386: '386',
  i686: '386',
  arm64: 'arm64',
  aarch64: 'arm64',
  armhf: 'arm',
  riscv64: 'riscv64',
  ppc64el: 'ppc64le',
  s390x: 's390x',
};

export class TemplateSource implements ImageSource {
  readonly #path: string;
  readonly #reference: ImageReference;
  readonly #tools: TemplateTools;
  #config: Uint8Array = Buffer.alloc(0);

  constructor(path: string, reference: ImageReference, tools: TemplateTools) {
    this.#path = path;
    this.#reference = reference;
    this.#tools = tools;
  }

  async resolve(signal: AbortSignal): Promise<RootDocument> {
    const file = await this.#open();
    try {
      if ((await file.stat()).size === 0) {
        throw new RuntimeError('invalid-argument', `template ${this.#path} is empty`);
      }
      const compression = await compressionOf(file);
      if (compression === 'bzip2') {
        throw new RuntimeError(
          'unimplemented',
          `template ${this.#path} is compressed by bzip2: recompress it, e.g. by zstd`,
        );
      }
      const digests = await this.#tools.digests.of(file, compression !== '', signal);
      const name = basename(this.#path);
      this.#config = Buffer.from(JSON.stringify(configOf(name, digests.diffId)));
      const manifest = {
        schemaVersion: 2,
        mediaType: `${OCI}manifest.v1+json`,
        config: {
          mediaType: `${OCI}config.v1+json`,
          digest: sha256Of(this.#config),
          size: this.#config.length,
        },
        layers: [layerOf(compression, digests)],
      };
      const bytes = Buffer.from(JSON.stringify(manifest));
      const digest = sha256Of(bytes);
      return {
        mediaType: manifest.mediaType,
        digest,
        bytes,
        repoTag: formatImageReference(this.#reference),
        repoDigest: `${imageName(this.#reference)}@${digest}`,
      };
    } finally {
      await file.close();
    }
  }

  fetchDocument(descriptor: Descriptor): Promise<Uint8Array> {
    if (descriptor.digest === sha256Of(this.#config)) return Promise.resolve(this.#config);
    return Promise.reject(
      new RuntimeError('internal', `template ${this.#path} has no document ${descriptor.digest}`),
    );
  }

  async fetchLayer(request: LayerRequest): Promise<void> {
    const file = await this.#open();
    const { size: length } = await file.stat();
    if ((await compressionOf(file)) !== 'xz') {
      await copyLayer({ file, offset: 0, length }, request);
      return;
    }
    // No layer of an image may be compressed by xz: others could not read it.
    const { unpack, temporaryFolder } = this.#tools;
    const { signal, descriptor } = request;
    const job = { file, length, diffId: descriptor.digest, digest: '', temporaryFolder, signal };
    const content = await writeContent(unpack, job).finally(() => file.close());
    try {
      const plain = await openRegular(content.path);
      if (plain === undefined) throw new RuntimeError('internal', `${content.path} is gone`);
      await copyLayer({ file: plain, offset: 0, length: content.size }, request);
    } finally {
      await content.remove();
    }
  }

  async #open(): Promise<FileHandle> {
    const file = await openRegular(this.#path);
    if (file) return file;
    throw new RuntimeError('not-found', `there is no template ${this.#path}`);
  }
}

/** Whether a file is to be taken for a root file system rather than for an archive of an OCI layout. */
export async function isTemplate(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  const file = found?.isFile() === true ? await openRegular(path) : undefined;
  // Whoever opens it tells what is the matter with it.
  if (file === undefined) return false;
  try {
    return (await compressionOf(file)) !== '' || !(await isLayoutArchive(file, path));
  } finally {
    await file.close();
  }
}

/** By its first bytes: a name may say anything. */
async function compressionOf(file: FileHandle): Promise<Compression> {
  const start = Buffer.alloc(6);
  await file.read(start, 0, start.length, 0);
  for (const [name, magic] of Object.entries(COMPRESSIONS)) {
    if (magic.every((byte, at) => start[at] === byte)) return name as Compression;
  }
  return '';
}

function layerOf(compression: Compression, digests: TemplateDigests): Record<string, unknown> {
  const { digest, size, diffId, contentSize } = digests;
  const isKept = compression === 'gzip' || compression === 'zstd';
  const type = `${OCI}layer.v1.tar`;
  return isKept
    ? { mediaType: `${type}+${compression}`, digest, size }
    : { mediaType: type, digest: diffId, size: contentSize };
}

/** The same for the same content under the same name, whenever and wherever. */
function configOf(name: string, diffId: string): Record<string, unknown> {
  return {
    os: 'linux',
    architecture: architectureOf(name),
    config: {
      // What `pct` starts.
      Cmd: ['/sbin/init'],
      StopSignal: stopSignalOf(name),
      Labels: { 'org.opencontainers.image.title': name },
    },
    rootfs: { type: 'layers', diff_ids: [diffId] },
  };
}

/** `debian-12-standard_12.7-1_amd64.tar.zst`; without a word of it, what this host is. */
function architectureOf(name: string): string {
  const [word = ''] = /[^_]*$/.exec(name.replace(/\.tar(?:\.\w+)?$/, '')) ?? [];
  return ARCHITECTURES[word] ?? platformsOf(process.arch)[0]?.architecture ?? '';
}

/** systemd powers off at the first (systemd(1)), the inits of busybox and sysvinit at the second. */
function stopSignalOf(name: string): string {
  return /^(?:alpine|devuan)|openrc|sysvinit|busybox/.test(name) ? 'SIGPWR' : 'SIGRTMIN+3';
}
