/** Reads the configuration file with its drop-ins into one validated Config. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import type { z } from 'zod';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { nearest } from '../util/nearest.js';
import { configKeys, configSchema, valueAt } from './schema.js';
import type { Config } from './schema.js';

export const DEFAULT_CONFIG_FILE = '/etc/pvecri/config.toml';

export interface LoadedConfig {
  config: Config;
  /** File that set a key, by dotted key; a key with its default is absent. */
  sources: ReadonlyMap<string, string>;
  /** Files read, in the order in which later ones stand above earlier ones. */
  files: string[];
}

type Table = Record<string, unknown>;

/**
 * Without a name the default file is read if it is there. A file that is named must be. Drop-ins are
 * `config.d/*.toml` beside the file, in lexical order; a table is merged, anything else replaced.
 * All problems of all files are told at once.
 */
export async function loadConfig(file?: string): Promise<LoadedConfig> {
  const files = await findFiles(file);
  const problems: string[] = [];
  const sources = new Map<string, string>();
  const merged: Table = {};
  for (const { path, text } of files) {
    const found = parseFile(path, text);
    problems.push(...found.problems);
    if (found.problems.length > 0) continue;
    mergeInto(merged, found.table);
    for (const key of configKeys) {
      if (valueAt(found.table, key.path) !== undefined) sources.set(key.path, path);
    }
  }
  if (problems.length > 0) throw new RuntimeError('invalid-argument', problems.join('; '));
  const config = configSchema.parse(merged);
  refuseNesting(config, sources);
  return { config, sources, files: files.map(({ path }) => path) };
}

async function findFiles(file: string | undefined): Promise<{ path: string; text: string }[]> {
  const main = file ?? DEFAULT_CONFIG_FILE;
  const found: { path: string; text: string }[] = [];
  const read = async (path: string): Promise<void> => {
    try {
      const bytes = await readFile(path);
      found.push({ path, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) });
    } catch (error) {
      if (path === main && file === undefined && hasCode(error, 'ENOENT')) return;
      throw wrap(error, `cannot read configuration ${path}`, 'invalid-argument');
    }
  };
  await read(main);
  const folder = join(dirname(main), 'config.d');
  for (const name of await dropInNames(folder)) await read(join(folder, name));
  return found;
}

async function dropInNames(folder: string): Promise<string[]> {
  try {
    const names = await readdir(folder);
    return names.filter((name) => name.endsWith('.toml') && !name.startsWith('.')).sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw wrap(error, `cannot read configuration folder ${folder}`, 'invalid-argument');
  }
}

function parseFile(path: string, text: string): { table: Table; problems: string[] } {
  let table: Table;
  try {
    table = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The lines after the first one draw the spot; the numbers say the same in one line.
    const what = (error.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '');
    return { table: {}, problems: [`${path}:${error.line}:${error.column}: not TOML: ${what}`] };
  }
  // Every key has a default, so that each file alone must be a valid configuration.
  const result = configSchema.safeParse(table);
  const problems = result.success ? [] : explain(path, table, result.error.issues);
  return { table, problems };
}

function explain(path: string, table: Table, issues: readonly z.core.$ZodIssue[]): string[] {
  const told = new Set<string>();
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) told.add(`${path}: ${unknownKey([...issue.path, key])}`);
    } else {
      told.add(`${path}: ${wrongValue(table, issue.path)}`);
    }
  }
  return [...told];
}

function unknownKey(parts: readonly PropertyKey[]): string {
  const dotted = parts.map(String).join('.');
  const meant = nearest(
    dotted,
    configKeys.map((key) => key.path),
  );
  const hint = meant === undefined ? '' : `; the nearest known key is ${meant}`;
  return `unknown key ${printable(dotted)}${hint}`;
}

function wrongValue(table: Table, parts: readonly PropertyKey[]): string {
  const dotted = parts.map(String).join('.');
  const key = configKeys.find(({ path }) => dotted === path || dotted.startsWith(`${path}.`));
  // Where no key matches, the issue is with a table: something else stands in its place.
  const at = key?.path ?? dotted;
  const value: unknown = valueAt(table, at);
  // JSON has neither nan nor inf, which TOML has.
  const text = typeof value === 'number' ? String(value) : JSON.stringify(value);
  return `key ${at} is ${shortened(text)}: expected ${key?.expects ?? 'a table'}`;
}

/** Volatile state inside the persistent folder, or the other way round, ends in one emptying the other. */
function refuseNesting(config: Config, sources: ReadonlyMap<string, string>): void {
  const { root, state } = config;
  if (!`${root}/`.startsWith(`${state}/`) && !`${state}/`.startsWith(`${root}/`)) return;
  const file = sources.get('state') ?? sources.get('root') ?? 'configuration';
  throw new RuntimeError(
    'invalid-argument',
    `${file}: keys root (${root}) and state (${state}) name folders inside one another: choose separate ones`,
  );
}

function mergeInto(target: Table, source: Table): void {
  for (const [name, value] of Object.entries(source)) {
    const present = target[name];
    if (isTable(value) && isTable(present)) mergeInto(present, value);
    else target[name] = isTable(value) ? structuredClone(value) : value;
  }
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function printable(text: string): string {
  return /^[\w.-]{1,80}$/.test(text) ? text : shortened(JSON.stringify(text));
}

function shortened(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 200)}…`;
}
