/** `pvecri images --filter`, in the words of docker and podman. */
import { InvalidArgumentError } from 'commander';
import type { ImageSummary } from '../admin/client.js';
import { usage } from './failure.js';

const KEYS = ['dangling', 'reference', 'label', 'before', 'since'] as const;
type FilterKey = (typeof KEYS)[number];

export interface ImageFilter {
  key: FilterKey;
  value: string;
}

export type SortKey = 'name' | 'size' | 'created';

/** Option parser: may be given often. */
export function imageFilter(text: string, before: ImageFilter[] | undefined): ImageFilter[] {
  const at = text.indexOf('=');
  const key = KEYS.find((known) => known === text.slice(0, Math.max(0, at)));
  const value = text.slice(at + 1);
  if (key === undefined || value === '')
    throw new InvalidArgumentError(`Expected KEY=VALUE with one of ${KEYS.join(', ')}.`);
  if (key === 'dangling' && value !== 'true' && value !== 'false')
    throw new InvalidArgumentError('Expected dangling=true or dangling=false.');
  return [...(before ?? []), { key, value }];
}

export function sortKey(text: string): SortKey {
  if (text === 'name' || text === 'size' || text === 'created') return text;
  throw new InvalidArgumentError('Expected name, size or created.');
}

export function filterImages(
  images: readonly ImageSummary[],
  filters: readonly ImageFilter[],
): ImageSummary[] {
  return filters.reduce<ImageSummary[]>(
    (left, filter) => left.filter(predicate(filter, images)),
    [...images],
  );
}

/** Milliseconds since the epoch; 0 when the config does not say. */
export function createdAt(image: ImageSummary): number {
  const time = Date.parse(image.createdAt);
  return Number.isNaN(time) ? 0 : time;
}

function predicate(
  { key, value }: ImageFilter,
  all: readonly ImageSummary[],
): (image: ImageSummary) => boolean {
  switch (key) {
    case 'dangling':
      return ({ repoTags }) => (repoTags.length === 0) === (value === 'true');
    case 'label': {
      const [name = '', ...rest] = value.split('=');
      const wanted = rest.length > 0 ? rest.join('=') : undefined;
      return ({ labels }) =>
        wanted === undefined ? labels.has(name) : labels.get(name) === wanted;
    }
    case 'reference': {
      const pattern = globPattern(value);
      return ({ repoTags }) =>
        repoTags.some((tag) => spellings(tag).some((spelling) => pattern.test(spelling)));
    }
    case 'before':
    case 'since': {
      const limit = createdAt(imageOf(all, value));
      return (image) => (key === 'before' ? createdAt(image) < limit : createdAt(image) > limit);
    }
  }
}

function imageOf(images: readonly ImageSummary[], reference: string): ImageSummary {
  const found = images.filter(
    ({ id, repoTags }) =>
      repoTags.some((tag) => spellings(tag).includes(reference)) ||
      (/^[0-9a-f]{8,}$/.test(reference) && id.startsWith(`sha256:${reference}`)) ||
      id === reference,
  );
  const [image] = found;
  if (image === undefined || found.length > 1)
    throw usage(`${JSON.stringify(reference)} in a filter names no image, or more than one`);
  return image;
}

/** All the ways in which people write a tag: without `latest`, without Docker Hub. */
function spellings(tag: string): string[] {
  const short = tag.replace(/^docker\.io\/(library\/)?/, '');
  return [tag, short].flatMap((name) => [name, name.slice(0, name.lastIndexOf(':'))]);
}

/** `*` and `?` stop at a slash, as in Go's path.Match. */
function globPattern(glob: string): RegExp {
  const text = glob.replace(/[\\^$.+()[\]{}|/]/g, '\\$&').replace(/\*/g, '[^/]*');
  return new RegExp(`^${text.replace(/\?/g, '[^/]')}$`);
}
