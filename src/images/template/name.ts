/** What images made of Proxmox VE's container templates are called. */
import { createHash } from 'node:crypto';
import { basename, dirname, normalize } from 'node:path';
import { RuntimeError } from '../../core/errors.js';
import { formatImageReference, isTag, type ImageReference } from '../../core/image-reference.js';

/** A volume of a storage as Proxmox VE writes it, `STORAGE:vztmpl/NAME`. */
export interface TemplateVolume {
  storage: string;
  name: string;
}

const PREFIX = 'pve://';
const CONTENT = 'vztmpl';
/** pve-storage, PVE::JSONSchema `pve-storage-id`. */
const STORAGE = /^[a-z][a-z0-9._-]*[a-z0-9]$/i;
/** pve-storage, PVE::Storage `$VZTMPL_EXT_RE_1`. */
const NAME = /^[^/]+\.tar(?:\.(?:gz|xz|zst|bz2))?$/;

/** undefined for a reference that names none. */
export function parseTemplateVolume(text: string): TemplateVolume | undefined {
  if (!text.startsWith(PREFIX)) return undefined;
  const [, storage = '', name = ''] = /^pve:\/\/([^:/]+):vztmpl\/(.*)$/s.exec(text) ?? [];
  if (STORAGE.test(storage) && NAME.test(name)) return { storage, name };
  throw new RuntimeError(
    'invalid-argument',
    `image reference ${JSON.stringify(text.slice(0, 300))} is no pve://STORAGE:vztmpl/NAME with a NAME that ends in .tar, .tar.gz, .tar.xz or .tar.zst`,
  );
}

/** `localhost/vztmpl/STORAGE:NAME`, which no other volume gets. */
export function volumeReference({ storage, name }: TemplateVolume): ImageReference {
  const repository = isComponent(storage) ? storage : distinct(storage.toLowerCase(), storage);
  return reference(`vztmpl/${repository}`, name);
}

/** The volume that `volumeReference` gave this name; undefined for the name of anything else. */
export function volumeOf(reference: ImageReference): TemplateVolume | undefined {
  const { registry, repository, tag } = reference;
  const [, storage] = /^vztmpl\/([^/]+)$/.exec(repository) ?? [];
  if (registry !== 'localhost' || storage === undefined || tag === '') return undefined;
  return parseTemplateVolume(`${PREFIX}${storage}:${CONTENT}/${tag}`);
}

/** `localhost/template/FOLDER:NAME`, where FOLDER stands for the folder's path. */
export function fileReference(path: string): ImageReference {
  const clean = normalize(path);
  return reference(`template/${shortDigest(dirname(clean))}`, basename(clean));
}

/**
 * The full name of an image whose source is written as `pve://…` or as a path, for looking it up without
 * a look at the source; undefined for any other text.
 */
export function templateNameOf(text: string): string | undefined {
  if (text.startsWith('/')) return formatImageReference(fileReference(text));
  const volume = parseTemplateVolume(text);
  return volume && formatImageReference(volumeReference(volume));
}

function reference(repository: string, name: string): ImageReference {
  const tag = isTag(name) ? name : distinct(name, name);
  return { registry: 'localhost', repository, tag, digest: '' };
}

function isComponent(text: string): boolean {
  return /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/.test(text);
}

/** What a name has that a reference may not have, made up for by a digest. */
function distinct(text: string, whole: string): string {
  const plain = text.replace(/[^A-Za-z0-9]+/g, '-').replace(/^-+|-+$/g, '');
  return `${plain.slice(0, 100)}-${shortDigest(whole)}`;
}

function shortDigest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}
