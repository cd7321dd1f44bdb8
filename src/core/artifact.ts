/** The files of an OCI artifact: its layers, each under the name that it was pushed with. */
import { hasControlCharacter } from '../util/control-characters.js';
import { RuntimeError } from './errors.js';
import { hexOf } from './digest.js';
import type { ArtifactFile } from './model.js';
import type { Descriptor } from './oci.js';

// OCI image specification, annotations.md; ORAS and its like write it.
const TITLE = 'org.opencontainers.image.title';
const MOST_PATH_BYTES = 1024;
const MOST_NAME_BYTES = 255;

/** Throws for names that lead out of the folder, or that cannot all be there at once. */
export function artifactFiles(layers: readonly Descriptor[], what: string): ArtifactFile[] {
  const files = layers.map(({ digest, annotations }, index) => {
    const title = annotations.find(([key]) => key === TITLE)?.[1] ?? `sha256-${hexOf(digest)}`;
    return { path: checkPath(title, `${what}.layers[${index}]`), digest };
  });
  const paths = new Set<string>();
  for (const { path } of files) {
    if (paths.has(path)) throw refused(`${what} has two files ${quote(path)}`);
    paths.add(path);
  }
  for (const { path } of files) {
    const parts = path.split('/');
    const file = parts
      .slice(1)
      .map((_, index) => parts.slice(0, index + 1).join('/'))
      .find((folder) => paths.has(folder));
    if (file !== undefined) throw refused(`${what} has ${quote(file)} as a file and as a folder`);
  }
  return files;
}

function checkPath(title: string, where: string): string {
  const path = title.replace(/^\.\//, '');
  const parts = path.split('/');
  const isName = (part: string): boolean =>
    part !== '' && part !== '.' && part !== '..' && Buffer.byteLength(part) <= MOST_NAME_BYTES;
  const isPath =
    parts.every(isName) && !hasControlCharacter(path) && Buffer.byteLength(path) <= MOST_PATH_BYTES;
  if (isPath) return path;
  throw refused(`${where} is called ${quote(title)}, which is no path of a file below a folder`);
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 120));
}

function refused(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}
