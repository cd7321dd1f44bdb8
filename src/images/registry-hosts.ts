/** Which servers to ask for the images of a registry, and how: hosts.toml folders as containerd has them. */
import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { parseUrl } from '../util/parse-url.js';
import { isLoopbackHost } from './address-guard.js';

export type Capability = 'pull' | 'resolve';

export interface RegistryHost {
  /** Without a slash at the end, `/v2` included. */
  base: string;
  capabilities: ReadonlySet<Capability>;
  /** PEM texts, besides the system's. */
  ca: string[];
  skipVerify: boolean;
  headers: Readonly<Record<string, string>>;
  /** A mirror is told whose images are meant (`?ns=`), and is never given the registry's credentials. */
  isMirror: boolean;
}

const strings = z.union([z.string().transform((text) => [text]), z.array(z.string())]);
const fields = {
  capabilities: z.array(z.enum(['pull', 'resolve', 'push'])).optional(),
  ca: strings.optional(),
  skip_verify: z.boolean().optional(),
  override_path: z.boolean().optional(),
  header: z.record(z.string(), strings).optional(),
};
const hostSchema = z.strictObject(fields);
const fileSchema = z.strictObject({
  ...fields,
  server: z.string().optional(),
  host: z.record(z.string(), hostSchema).optional(),
});
type HostFields = z.infer<typeof hostSchema>;

/** Mirrors in the order of the file, then the registry itself. Read anew for each pull. */
export async function readRegistryHosts(
  registry: string,
  hostsDir: string,
): Promise<RegistryHost[]> {
  const found = await findFile(registry, hostsDir);
  if (found === undefined) return [await makeHost(serverOf(registry), {}, '', false)];
  const { path, text } = found;
  try {
    const file = fileSchema.parse(parse(text));
    const mirrors = Object.entries(file.host ?? {});
    const hosts = mirrors.map(([url, host]) => makeHost(url, host, path, true));
    const { server = serverOf(registry) } = file;
    return await Promise.all([...hosts, makeHost(server, file, path, false)]);
  } catch (error) {
    const reason = error instanceof z.ZodError ? new Error(z.prettifyError(error)) : error;
    throw wrap(reason, `cannot use ${path}`, 'failed-precondition');
  }
}

async function findFile(
  registry: string,
  hostsDir: string,
): Promise<{ path: string; text: string } | undefined> {
  if (hostsDir === '') return undefined;
  // containerd's second spelling is for tools that stumble over a colon.
  const names = [registry, registry.replace(/:(\d+)$/, '_$1_'), '_default'];
  for (const name of new Set(names)) {
    const path = join(hostsDir, name, 'hosts.toml');
    try {
      return { path, text: await readFile(path, 'utf8') };
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) {
        throw wrap(error, `cannot read ${path}`, 'failed-precondition');
      }
    }
  }
  return undefined;
}

function serverOf(registry: string): string {
  return registry === 'docker.io' ? 'https://registry-1.docker.io' : registry;
}

async function makeHost(
  url: string,
  options: HostFields,
  path: string,
  isMirror: boolean,
): Promise<RegistryHost> {
  const base = parseBase(url);
  const bare = base.href.replace(/\/+$/, '');
  const hasVersion = options.override_path === true || /\/v2(?:\/|$)/.test(base.pathname);
  const given = options.capabilities ?? ['pull', 'resolve'];
  const headers = Object.entries(options.header ?? {}).map(([name, values]) => [
    name,
    values.join(', '),
  ]);
  return {
    base: hasVersion ? bare : `${bare}/v2`,
    capabilities: new Set(given.filter((capability) => capability !== 'push')),
    ca: await Promise.all(
      (options.ca ?? []).map((file) => readFile(resolve(dirname(path), file), 'utf8')),
    ),
    skipVerify: options.skip_verify ?? false,
    headers: Object.fromEntries(headers) as Record<string, string>,
    isMirror,
  };
}

/** Without a scheme: http on this host, as docker has it, https anywhere else. */
function parseBase(text: string): URL {
  const hasScheme = text.includes('://');
  const url = parseUrl(hasScheme ? text : `https://${text}`);
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw new RuntimeError(
      'failed-precondition',
      `registry host ${JSON.stringify(text)} is no URL`,
    );
  }
  url.search = '';
  url.hash = '';
  return !hasScheme && isLoopbackHost(url.hostname) ? new URL(`http://${text}`) : url;
}
