/** CNI network configurations of a folder: which of them is the network of the pods. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { hasCode, wrap } from '../../core/errors.js';

/** A configuration list as the specification has it, with all its unknown keys. */
export interface NetworkConfig {
  name: string;
  cniVersion: string;
  plugins: PluginConfig[];
}

export interface PluginConfig extends Record<string, unknown> {
  type: string;
  capabilities?: Record<string, boolean> | undefined;
}

export interface FoundNetwork {
  network: NetworkConfig | undefined;
  /** Files that stand before the chosen one and cannot be used. */
  problems: { path: string; reason: string }[];
}

// Newest first. cniVersions of CNI 1.1 lets a file offer several.
const VERSIONS = ['1.1.0', '1.0.0', '0.4.0', '0.3.1', '0.3.0', '0.2.0', '0.1.0'];
const MAX_BYTES = 1024 * 1024;

// libcni's rule for network names and container ids (pkg/utils: ValidateNetworkName).
const name = z
  .string()
  .regex(/^[A-Za-z0-9][\w.-]{0,254}$/, 'must be letters, digits, "_", "." and "-"');
// It becomes a path below a plugin folder: no slash, not "." nor "..", nothing that ends a line.
const pluginType = z
  .string()
  .regex(/^[A-Za-z0-9_][\w.+-]{0,254}$/, 'must be the file name of a plugin, without a path');

const plugin = z.looseObject({
  type: pluginType,
  capabilities: z.record(z.string(), z.boolean()).optional(),
  ipam: z.looseObject({ type: z.union([z.literal(''), pluginType]).optional() }).optional(),
});

export const networkConfig = z.object({
  name,
  cniVersion: z.enum(VERSIONS),
  plugins: z.array(plugin).min(1, 'must list at least one plugin'),
});

const conflist = z.looseObject({
  name,
  cniVersion: z.string().optional(),
  cniVersions: z.array(z.string()).optional(),
  plugins: z.array(plugin).min(1, 'must list at least one plugin'),
});

/**
 * The first valid `*.conflist`, `*.conf` or `*.json` in the order of names, as every runtime chooses
 * it. Read anew for each use: a folder of a few small files is cheaper to read than to watch rightly.
 */
export async function findNetwork(folder: string): Promise<FoundNetwork> {
  const problems: FoundNetwork['problems'] = [];
  for (const file of await namesIn(folder)) {
    const path = join(folder, file);
    try {
      const text = await readRegular(path);
      return { network: parseNetwork(text, file.endsWith('.conflist')), problems };
    } catch (error) {
      // Gone since the folder was listed: it is as if it had never been there.
      if (hasCode(error, 'ENOENT')) continue;
      problems.push({ path, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  return { network: undefined, problems };
}

/** `isList` tells a list from the older form, which is one plugin's configuration with a name. */
export function parseNetwork(text: string, isList: boolean): NetworkConfig {
  const json: unknown = JSON.parse(text);
  const list = isList ? json : asList(json);
  const result = conflist.safeParse(list);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new Error(`${issue?.path.map(String).join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  const { name, cniVersion, cniVersions, plugins } = result.data;
  return { name, cniVersion: chooseVersion(cniVersion, cniVersions), plugins };
}

function chooseVersion(single: string | undefined, several: string[] | undefined): string {
  // A file without a version is of the time before there were any.
  const offered = [...(several ?? []), ...(single === undefined ? [] : [single])];
  if (offered.length === 0) return '0.1.0';
  const chosen = VERSIONS.find((version) => offered.includes(version));
  if (chosen !== undefined) return chosen;
  throw new Error(`cniVersion: ${JSON.stringify(offered)} is none of ${VERSIONS.join(', ')}`);
}

function asList(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return json;
  if ('plugins' in json) throw new Error('plugins: a list must be in a file named *.conflist');
  const { name, cniVersion } = json as Record<string, unknown>;
  return { name, cniVersion, plugins: [json] };
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    const names = await readdir(folder);
    return names.filter((file) => /\.(conflist|conf|json)$/.test(file)).sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw wrap(error, `cannot list the network configurations in ${folder}`);
  }
}

async function readRegular(path: string): Promise<string> {
  // Opening a FIFO would wait for a writer that never comes.
  const { size } = await stat(path).then((found) => {
    if (!found.isFile()) throw new Error('it is not a regular file');
    return found;
  });
  if (size > MAX_BYTES) throw new Error(`it has ${size} bytes, more than ${MAX_BYTES}`);
  return readFile(path, 'utf8');
}
