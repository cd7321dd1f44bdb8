/** Which storage the images and containers of an agent are in. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chooseStorage } from '../../../src/storage/storage-choice.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const overlay = { driver: 'overlay', place: '' };
const zfs = { driver: 'zfs', place: 'rpool/pvecri' };

describe('the choice of a storage', () => {
  let root: string;
  const record = (): string => join(root, 'images/records/0.json');

  beforeEach(() => {
    root = makeTempFolder();
    mkdirSync(join(root, 'images/records'), { recursive: true });
    mkdirSync(join(root, 'containers'));
  });
  afterEach(() => {
    removeTempFolder(root);
  });

  it('is free where nothing is', async () => {
    for (const choice of [zfs, overlay, zfs, { ...zfs, place: 'tank/other' }]) {
      await chooseStorage(root, choice);
      await chooseStorage(root, choice);
    }
  });

  it('stands as long as there are images or containers, and its refusal names both', async () => {
    await chooseStorage(root, zfs);
    writeFileSync(record(), '{}');
    await chooseStorage(root, zfs);
    const kind = 'failed-precondition';
    await assert.rejects(chooseStorage(root, overlay), {
      kind,
      message: /1 images and 0 containers .* are in "zfs" rpool\/pvecri, .* says "overlay"/,
    });
    await assert.rejects(chooseStorage(root, { ...zfs, place: 'tank/other' }), { kind });
    rmSync(record());
    mkdirSync(join(root, 'containers', 'a'.repeat(64)));
    await assert.rejects(chooseStorage(root, overlay), { kind });
    rmSync(join(root, 'containers'), { recursive: true });
    await chooseStorage(root, overlay);
  });

  it('takes what an agent without a choice has left for overlayfs', async () => {
    writeFileSync(record(), '{}');
    await assert.rejects(chooseStorage(root, zfs), { message: /are in "overlay", / });
    await chooseStorage(root, overlay);
    assert.match(readFileSync(join(root, 'storage.json'), 'utf8'), /"driver":"overlay"/);
  });

  it('refuses what it cannot read, and what is newer', async () => {
    for (const text of ['', '[]', '{"version":2,"driver":"zfs","place":""}']) {
      writeFileSync(join(root, 'storage.json'), text);
      await assert.rejects(chooseStorage(root, overlay), /storage\.json/);
    }
  });
});
