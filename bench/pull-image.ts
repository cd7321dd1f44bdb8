/** An image like those that are pulled in practice, made of this host's software, in a registry. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { push, startDockerRegistry, type DockerRegistry } from '../test/support/docker-registry.js';
import {
  ARCHITECTURE,
  descriptorOf,
  digestOf,
  makeBlob,
  type BuiltImage,
} from '../test/support/oci-image.js';

export type Compression = 'gzip' | 'zstd';

export interface LayerFile {
  tar: string;
  blobs: Record<Compression, string>;
}

/** Where layers are taken from, and how many: texts and small files, programs, libraries. */
const SOURCES: readonly (readonly [folder: string, layers: number])[] = [
  ['usr/share', 5],
  ['usr/bin', 1],
  ['usr/lib', 2],
];
/** Uncompressed. Software shrinks to two fifths or so: 25 MB. */
const LAYER_BYTES = 58e6;
/** A model or a debug file would be a layer of its own. */
const MOST_FILE_BYTES = 20e6;

/** Eight layers of about 25 MB, and one that holds all of them. */
export function makeLayers(folder: string): { eight: LayerFile[]; one: LayerFile[] } {
  const lists = SOURCES.flatMap(([source, count]) => fileLists(source, count));
  const all = [...lists, lists.flat()].map((names, index) => {
    const tar = join(folder, `${index}.tar`);
    const input = names.join('\0');
    execFileSync('tar', ['-C', '/', '--no-recursion', '--null', '-T', '-', '-cf', tar], {
      input,
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    return { tar, blobs: { gzip: `${tar}.gz`, zstd: `${tar}.zst` } };
  });
  // As docker and buildkit have it: gzip's level 6, zstd's 3.
  const commands = all.flatMap(({ tar }) => [`gzip -6 -k ${tar}`, `zstd -q -3 -k ${tar}`]);
  execFileSync('xargs', ['-P', '2', '-d', '\\n', '-n', '1', 'sh', '-c', 'eval "$0"'], {
    input: commands.toReversed().join('\n'),
  });
  return { eight: all.slice(0, -1), one: all.slice(-1) };
}

/** Names below a folder, sorted, in runs of a layer's size; folders come before what is in them. */
function fileLists(source: string, count: number): string[][] {
  const listed = execFileSync(
    'find',
    [source, '-xdev', '-type', 'd,f,l', '-printf', '%y %s %p\\0'],
    {
      cwd: '/',
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    },
  );
  const lists: string[][] = [];
  let list: string[] = [];
  let bytes = 0;
  for (const line of listed
    .split('\0')
    .slice(0, -1)
    .sort((a, b) => order(a, b))) {
    const [type, size, name] = parse(line);
    if (type === 'f' && size > MOST_FILE_BYTES) continue;
    list.push(name);
    // A header each, and files in blocks of 512 bytes.
    bytes += 512 + (type === 'f' ? Math.ceil(size / 512) * 512 : 0);
    if (bytes < LAYER_BYTES) continue;
    lists.push(list);
    if (lists.length === count) return lists;
    [list, bytes] = [[], 0];
  }
  lists.push(list);
  return lists;
}

function parse(line: string): [type: string, size: number, name: string] {
  const [type = '', size = ''] = line.split(' ', 2);
  return [type, Number(size), line.slice(type.length + size.length + 2)];
}

function order(a: string, b: string): number {
  const [left, right] = [parse(a)[2], parse(b)[2]];
  return left < right ? -1 : 1;
}

export function describe(layers: readonly LayerFile[]): string {
  const megabytes = (path: string): number => statSync(path).size / 1e6;
  const sum = (paths: string[]): string =>
    paths.reduce((total, path) => total + megabytes(path), 0).toFixed(0);
  return (
    `${layers.length} layers, ${sum(layers.map(({ tar }) => tar))} MB, ` +
    `${sum(layers.map(({ blobs }) => blobs.gzip))} by gzip, ${sum(layers.map(({ blobs }) => blobs.zstd))} by zstd`
  );
}

export function buildImage(layers: readonly LayerFile[], compression: Compression): BuiltImage {
  const diffIds = layers.map(({ tar }) => digestOf(readFileSync(tar)));
  const blobs = layers.map((layer) =>
    makeBlob(
      `application/vnd.oci.image.layer.v1.tar+${compression}`,
      readFileSync(layer.blobs[compression]),
    ),
  );
  const document = {
    os: 'linux',
    architecture: ARCHITECTURE,
    config: { Cmd: ['/bin/true'] },
    rootfs: { type: 'layers', diff_ids: diffIds },
  };
  const config = makeBlob('application/vnd.oci.image.config.v1+json', JSON.stringify(document));
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = makeBlob(
    mediaType,
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: descriptorOf(config),
      layers: blobs.map(descriptorOf),
    }),
  );
  return { id: config.digest, diffIds, manifest, blobs: [config, ...blobs] };
}

/** Fills a registry, and starts it anew inside a network namespace. */
export async function serveImages(
  folder: string,
  netns: string,
  images: Readonly<Record<string, BuiltImage>>,
): Promise<DockerRegistry> {
  mkdirSync(folder, { recursive: true });
  const filled = await startDockerRegistry(folder);
  try {
    for (const [name, image] of Object.entries(images)) await push(filled.host, name, 'v1', image);
  } finally {
    await filled.stop();
  }
  return startDockerRegistry(folder, '', ['nsenter', `--net=${netns}`]);
}
