/** The files that describe CDI devices, read anew for each container that names one: vendors rewrite them. */
import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { parse } from 'yaml';
import { parseCdiSpec, resolveCdiDevices, type CdiFile } from './core/cdi.js';
import { hasCode, RuntimeError, wrap } from './core/errors.js';
import type { HostFacts } from './runtime/context.js';

/** A GPU's with all its libraries has some tens of kilobytes. */
const MAX_FILE_BYTES = 4 << 20;
/** A folder that holds more is no folder of device descriptions. */
const MAX_FILES = 1000;

export interface CdiSettings {
  enabled: boolean;
  folders: readonly string[];
}

export function createCdiFinder(
  settings: () => CdiSettings,
  readHostFile: HostFacts['readHostFile'],
): HostFacts['findCdiDevices'] {
  return async (names) => {
    const { enabled, folders } = settings();
    if (!enabled) {
      throw new RuntimeError(
        'failed-precondition',
        `CDI device ${names[0] ?? ''} cannot be given: devices.enable_cdi is false in the configuration`,
      );
    }
    const { files, broken } = await readFolders(folders, readHostFile);
    return resolveCdiDevices(names, files, folders, broken);
  };
}

async function readFolders(
  folders: readonly string[],
  readHostFile: HostFacts['readHostFile'],
): Promise<{ files: CdiFile[]; broken: string[] }> {
  const files: CdiFile[] = [];
  const broken: string[] = [];
  for (const [priority, folder] of folders.entries()) {
    for (const path of await specFiles(folder)) {
      try {
        const bytes = await readHostFile('CDI file', path, MAX_FILE_BYTES);
        files.push({ path, priority, spec: parseCdiSpec(toDocument(bytes, path), path) });
      } catch (error) {
        broken.push(error instanceof Error ? error.message : String(error));
      }
    }
  }
  return { files, broken };
}

async function specFiles(folder: string): Promise<string[]> {
  try {
    const names = (await readdir(folder)).filter((name) => {
      return ['.json', '.yaml', '.yml'].includes(extname(name));
    });
    if (names.length <= MAX_FILES) return names.toSorted().map((name) => join(folder, name));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw wrap(error, `cannot read the folder of CDI files ${folder}`, 'failed-precondition');
  }
  throw new RuntimeError(
    'failed-precondition',
    `${folder} holds over ${MAX_FILES} CDI files: name a folder of devices in devices.cdi_spec_dirs`,
  );
}

function toDocument(bytes: Uint8Array, path: string): unknown {
  const text = Buffer.from(bytes).toString('utf8');
  try {
    // JSON stays JSON: YAML reads some of it otherwise.
    if (path.endsWith('.json')) return JSON.parse(text);
    return parse(text, { maxAliasCount: 100, prettyErrors: false });
  } catch (error) {
    throw wrap(error, `CDI file ${path} is malformed`, 'invalid-argument');
  }
}
