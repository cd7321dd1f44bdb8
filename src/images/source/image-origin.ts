/** What kind of place a reference given to `pull` names. */
import { hasControlCharacter } from '../../util/control-characters.js';
import { RuntimeError } from '../../core/errors.js';
import type { ImageReference } from '../../core/image-reference.js';
import { parseImageReference } from '../../core/image-reference.js';
import { parseTemplateVolume, volumeOf, type TemplateVolume } from '../template/name.js';

/** What can be read from. */
export type ReadOrigin =
  | { kind: 'registry'; reference: ImageReference }
  /** `path` is a layout folder or a tar of one; `name` chooses among its images, '' for the only one. */
  | {
      kind: 'layout' | 'archive' | 'path';
      path: string;
      name: string;
      /** What the image is called instead of anything it says itself. */
      calledAs?: ImageReference;
    };

/** What is named: of a volume it must be found out where it is. */
export type ImageOrigin = ReadOrigin | { kind: 'volume'; volume: TemplateVolume };

const TRANSPORTS = { 'oci:': 'layout', 'oci-archive:': 'archive' } as const;

/**
 * `oci:/abs/folder[:name]`, `oci-archive:/abs/file.tar[:name]`, `/abs/either[:name]`,
 * `pve://STORAGE:vztmpl/NAME`, also by the name that its image has, or a registry's.
 */
export function parseImageOrigin(text: string): ImageOrigin {
  if (hasControlCharacter(text)) {
    throw new RuntimeError(
      'invalid-argument',
      `image reference ${JSON.stringify(text.slice(0, 300))} contains a control character`,
    );
  }
  for (const [prefix, kind] of Object.entries(TRANSPORTS)) {
    if (text.startsWith(prefix)) return { kind, ...splitPath(text, text.slice(prefix.length)) };
  }
  const volume = parseTemplateVolume(text);
  if (volume) return { kind: 'volume', volume };
  if (text.startsWith('/')) return { kind: 'path', ...splitPath(text, text) };
  const [, scheme, rest] = /^([a-z][a-z0-9+.-]*:\/\/)(.*)$/s.exec(text) ?? [];
  if (scheme !== undefined && rest !== undefined) {
    throw new RuntimeError(
      'invalid-argument',
      `image reference ${JSON.stringify(text.slice(0, 300))} has a scheme: leave ${scheme} out`,
    );
  }
  if (/^\.{1,2}\//.test(text)) throw relativePath(text);
  const reference = parseImageReference(text);
  // The kubelet takes nothing but references for names of images.
  const called = volumeOf(reference);
  return called ? { kind: 'volume', volume: called } : { kind: 'registry', reference };
}

/** The first colon ends the path, as in skopeo's transports: names may hold colons and slashes. */
function splitPath(text: string, rest: string): { path: string; name: string } {
  const colon = rest.indexOf(':');
  const path = colon < 0 ? rest : rest.slice(0, colon);
  if (!path.startsWith('/')) throw relativePath(text);
  return { path, name: colon < 0 ? '' : rest.slice(colon + 1) };
}

function relativePath(text: string): RuntimeError {
  return new RuntimeError(
    'invalid-argument',
    `image reference ${JSON.stringify(text.slice(0, 300))} needs an absolute path`,
  );
}
