/** Which servers to ask for the images of a registry, and how: hosts.toml folders as containerd has them. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../../core/errors.js';
import { parseUrl } from '../../util/parse-url.js';
import { isLoopbackHost } from './address-guard.js';
import type { TlsOptions } from './http-client.js';
import { parseHostsFile, type HostCapability, type HostTable } from './hosts-file.js';
import { readCa, readClientPair } from './tls-files.js';

export type Capability = HostCapability;

export interface RegistryHost extends TlsOptions {
  /** Without a slash at the end, `/v2` included. */
  base: string;
  capabilities: ReadonlySet<Capability>;
  headers: Readonly<Record<string, string>>;
  /** A mirror is told whose images are meant (`?ns=`), and is never given the registry's credentials. */
  isMirror: boolean;
}

const ALL: readonly Capability[] = ['pull', 'resolve', 'push', 'referrers'];

/** Mirrors in the order of the file, then the registry itself. Read anew for each pull. */
export async function readRegistryHosts(
  registry: string,
  hostsDir: string,
): Promise<RegistryHost[]> {
  const folder = await findFolder(registry, hostsDir);
  if (folder === undefined) return [await makeHost(serverOf(registry), {}, '', false)];
  const path = join(folder.path, 'hosts.toml');
  if (!folder.names.includes('hosts.toml')) {
    const certificates = dockerCertificates(folder.names);
    return [await makeHost(serverOf(registry), certificates, folder.path, false)];
  }
  try {
    const { server, mirrors, table } = parseHostsFile(await readFile(path, 'utf8'));
    const hosts = mirrors.map(([url, mirror]) => makeHost(url, mirror, folder.path, true));
    return await Promise.all([
      ...hosts,
      makeHost(server ?? serverOf(registry), table, folder.path, false),
    ]);
  } catch (error) {
    throw wrap(error, `cannot use ${path}`, 'failed-precondition');
  }
}

/** The first folder of containerd's names that is there, and what is in it. */
async function findFolder(
  registry: string,
  hostsDir: string,
): Promise<{ path: string; names: string[] } | undefined> {
  if (hostsDir === '') return undefined;
  // The first spelling is for tools that stumble over a colon.
  const names = [registry.replace(/:(\d+)$/, '_$1_'), registry, '_default'];
  for (const name of new Set(names)) {
    const path = join(hostsDir, name);
    try {
      return { path, names: await readdir(path) };
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) {
        throw wrap(error, `cannot read ${path}`, 'failed-precondition');
      }
    }
  }
  return undefined;
}

/** Docker's layout, without a hosts.toml: `*.crt` to trust, `NAME.cert` with `NAME.key` to show. */
function dockerCertificates(names: readonly string[]): HostTable {
  const stems = names.filter((name) => name.endsWith('.cert')).map((name) => name.slice(0, -5));
  return {
    ca: names.filter((name) => name.endsWith('.crt')).sort(),
    client: stems.sort().map((stem) => [`${stem}.cert`, `${stem}.key`]),
  };
}

function serverOf(registry: string): string {
  return registry === 'docker.io' ? 'https://registry-1.docker.io' : registry;
}

async function makeHost(
  url: string,
  table: HostTable,
  folder: string,
  isMirror: boolean,
): Promise<RegistryHost> {
  const base = parseBase(url);
  const bare = base.href.replace(/\/+$/, '');
  const isComplete = table.isPathComplete === true || bare.endsWith('/v2');
  try {
    return {
      base: isComplete ? bare : `${bare}/v2`,
      capabilities: new Set(table.capabilities ?? ALL),
      ca: await Promise.all((table.ca ?? []).map((file) => readCa(folder, file))),
      clientCertificates: await Promise.all(
        (table.client ?? []).map(([cert, key]) => readClientPair(folder, cert, key)),
      ),
      skipVerify: table.skipVerify ?? false,
      dialTimeoutMs: table.dialTimeoutMs,
      headers: table.headers ?? {},
      isMirror,
    };
  } catch (error) {
    throw wrap(error, isMirror ? `host ${JSON.stringify(url)}` : `server ${bare}`);
  }
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
