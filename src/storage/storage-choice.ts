/** Remembers which storage an agent's images and containers are in, so that another is not taken for it. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { asObject, asString } from '../core/json-shape.js';
import { writeFileAtomic } from '../util/atomic-file.js';

export interface StorageChoice {
  /** `rootfs.driver`. */
  driver: string;
  /** The dataset or the pool, '' for a driver that keeps all below the agent's root folder. */
  place: string;
}

const FILE = 'storage.json';
const VERSION = 1;
/** What is there without the file was made by an agent that knew no other. */
const FIRST: StorageChoice = { driver: 'overlay', place: '' };

/**
 * Writes the choice down below `root`. An error when images or containers are there that another choice
 * has made: they would be without their files.
 */
export async function chooseStorage(root: string, choice: StorageChoice): Promise<void> {
  const path = join(root, FILE);
  const before = await readChoice(path);
  if (before && isSame(before, choice)) return;
  if (!isSame(before ?? FIRST, choice)) {
    const images = await count(join(root, 'images/records'));
    const containers = await count(join(root, 'containers'));
    if (images + containers > 0) {
      const there = nameOf(before ?? FIRST);
      throw new RuntimeError(
        'failed-precondition',
        `rootfs.driver: ${images} images and ${containers} containers below ${root} are in ${there}, but the configuration says ${nameOf(choice)}: set it back to ${there}, or do so and remove them first (pvecri rm, pvecri rmi)`,
      );
    }
  }
  await writeFileAtomic(path, JSON.stringify({ version: VERSION, ...choice }));
}

async function readChoice(path: string): Promise<StorageChoice | undefined> {
  let text;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw wrap(error, `cannot read ${path}`);
  }
  try {
    const record = asObject(JSON.parse(text), path);
    if (record['version'] !== VERSION) {
      throw new RuntimeError(
        'failed-precondition',
        `${path} was written by a newer agent: run that one`,
      );
    }
    return { driver: asString(record['driver'], path), place: asString(record['place'], path) };
  } catch (error) {
    throw wrap(error, `cannot read ${path}`, 'data-loss');
  }
}

function isSame(one: StorageChoice, other: StorageChoice): boolean {
  return one.driver === other.driver && one.place === other.place;
}

function nameOf({ driver, place }: StorageChoice): string {
  return place === '' ? `"${driver}"` : `"${driver}" ${place}`;
}

async function count(folder: string): Promise<number> {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith('.')).length;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 0;
    throw wrap(error, `cannot read ${folder}`);
  }
}
