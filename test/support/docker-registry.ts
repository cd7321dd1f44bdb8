/** Debian's docker-registry on a port of its own, and a client that pushes to it. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Blob, BuiltImage } from './oci-image.js';

export interface DockerRegistry {
  /** `127.0.0.1:PORT` */
  host: string;
  pid: number;
  stop: () => Promise<void>;
}

/** One in a network namespace, for an agent that lives there; `images` by `repository:tag`. */
export async function startRegistryBeside(
  netns: string,
  folder: string,
  images: Record<string, BuiltImage>,
): Promise<DockerRegistry> {
  const filler = await startDockerRegistry(folder);
  for (const [name, image] of Object.entries(images)) {
    const [repository = '', tag = ''] = name.split(':');
    await push(filler.host, repository, tag, image);
  }
  await filler.stop();
  return startDockerRegistry(folder, '', ['nsenter', `--net=${netns}`]);
}

/** `extra` is YAML at the top level of its configuration; `wrapper` runs it, by exec. */
export async function startDockerRegistry(
  folder: string,
  extra = '',
  wrapper: readonly string[] = [],
): Promise<DockerRegistry> {
  const storage = join(folder, 'registry');
  mkdirSync(storage, { recursive: true });
  const config = join(folder, 'registry.yml');
  writeFileSync(
    config,
    `version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: ${storage}}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"}
${extra}`,
  );
  const words = ['docker-registry', 'serve', config];
  const child = spawn(wrapper[0] ?? 'docker-registry', [...wrapper, ...words].slice(1), {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
  });
  const ended = new Promise<void>((resolve) => child.once('close', resolve));
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    said.push(line);
    const host = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (host === undefined) continue;
    child.stderr.resume();
    return {
      host,
      pid: child.pid ?? 0,
      stop: async () => {
        child.kill('SIGKILL');
        await ended;
      },
    };
  }
  throw new Error(`docker-registry did not start: ${said.join('\n')}`);
}

/** Pushes blobs and manifest; returns nothing that the image does not say itself. */
export async function push(
  host: string,
  repository: string,
  tag: string,
  image: BuiltImage,
): Promise<void> {
  for (const blob of image.blobs) await pushBlob(host, repository, blob);
  await pushManifest(host, repository, tag, image.manifest);
}

export async function pushBlob(host: string, repository: string, blob: Blob): Promise<void> {
  const start = await fetch(`http://${host}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
  const url = new URL(start.headers.get('location') ?? '', `http://${host}`);
  url.searchParams.set('digest', blob.digest);
  await expectStatus(await fetch(url, { method: 'PUT', body: new Uint8Array(blob.bytes) }), 201);
}

export async function pushManifest(
  host: string,
  repository: string,
  tag: string,
  manifest: Blob,
): Promise<void> {
  const response = await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, {
    method: 'PUT',
    headers: { 'content-type': manifest.mediaType },
    body: new Uint8Array(manifest.bytes),
  });
  await expectStatus(response, 201);
}

async function expectStatus(response: Response, status: number): Promise<void> {
  const text = await response.text();
  if (response.status !== status) throw new Error(`${response.url}: ${response.status} ${text}`);
}
