/** Layers from arbitrary steps, such as an honest builder could have written. */
import { file, folder, hardlink, opaque, symlink, whiteout } from './tar.js';
import type { TarEntry } from './tar.js';

export interface LayerStep {
  path: string[];
  kind: 'folder' | 'file' | 'symlink' | 'hardlink' | 'fifo' | 'whiteout' | 'opaque';
  seed: number;
}

/**
 * `said`: every folder has an entry of its own before what is in it, with attributes. `implied`: none
 * has attributes. A step that no builder could take is left out.
 */
export function layerEntries(steps: readonly LayerStep[], parents: 'said' | 'implied'): TarEntry[] {
  const entries: TarEntry[] = [];
  const kinds = new Map<string, LayerStep['kind']>();
  const sayFolder = (path: string, seed: number): void => {
    kinds.set(path, 'folder');
    if (parents === 'implied') return;
    // The same in each layer: a folder that is said twice has one owner.
    const mode = [0o755, 0o700, 0o2775, 0o1777][path.length % 4] ?? 0;
    const pax = { [`SCHILY.xattr.user.${'xyz'[seed % 3]}`]: String(seed) };
    entries.push(folder(`${path}/`, { mode, uid: path.length, mtime: 1000 + path.length, pax }));
  };
  for (const { path, kind, seed } of steps) {
    const name = path.join('/');
    const above = path.slice(0, -1).map((_, depth) => path.slice(0, depth + 1).join('/'));
    if (kind === 'opaque') above.push(name);
    if (above.some((parent) => (kinds.get(parent) ?? 'folder') !== 'folder')) continue;
    const linkable = [...kinds]
      .filter(([other, its]) => its === 'file' && !other.startsWith(`${name}/`))
      .map(([other]) => other);
    if (kind === 'hardlink' && linkable.length === 0) continue;
    for (const parent of above) if (!kinds.has(parent)) sayFolder(parent, seed);
    const isEntry = kind !== 'whiteout' && kind !== 'opaque';
    if (isEntry && !(kind === 'folder' && kinds.get(name) === 'folder')) {
      for (const other of kinds.keys()) if (other.startsWith(`${name}/`)) kinds.delete(other);
    }
    switch (kind) {
      case 'folder':
        if (parents === 'implied') entries.push(folder(`${name}/`, { mtime: 1000 }));
        sayFolder(name, seed);
        break;
      case 'file':
        entries.push(file(name, `content ${seed}`, { mode: 0o600 + (seed % 64), mtime: seed }));
        break;
      case 'symlink':
        entries.push(symlink(name, ['a', '/b', '../c'][seed % 3] ?? ''));
        break;
      case 'hardlink':
        entries.push(hardlink(name, linkable[seed % linkable.length] ?? ''));
        break;
      case 'fifo':
        entries.push({ name, type: '6', mtime: seed });
        break;
      case 'whiteout':
        entries.push(whiteout(name));
        break;
      case 'opaque':
        entries.push(opaque(name));
        break;
    }
    if (isEntry) kinds.set(name, kind === 'hardlink' ? 'file' : kind);
  }
  return entries;
}
