import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { parseStorages, templatePath } from '../../../../src/images/template/pve-storage.js';
import { makeTempFolder, removeTempFolder } from '../../../support/temp.js';

const node = hostname().replace(/\..*/, '');
const TEXT = `# a comment
dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl,backup
\tprune-backups keep-all=1

nfs: shared
    server 10.0.0.1
    export /srv
    content vztmpl,snippets

cifs: elsewhere
\tpath /srv/cifs/
\tcontent-dirs iso=a,vztmpl=b/c
\tcontent vztmpl

btrfs: fast
\tpath /fast
\tcontent rootdir

lvmthin: thin
\tthinpool data
\tvgname pve
\tcontent rootdir,images

dir: off
\tpath /off
\tdisable
\tcontent vztmpl

dir: others
\tpath /others
\tcontent vztmpl
\tnodes not-this-one

dir: ours
\tpath /ours
\tcontent vztmpl
\tnodes not-this-one,${node}
`;

describe('storages of Proxmox VE', () => {
  let temp: string;
  beforeEach(() => {
    temp = makeTempFolder();
    writeFileSync(join(temp, 'storage.cfg'), TEXT);
  });
  afterEach(() => {
    removeTempFolder(temp);
  });
  const path = (storage: string): Promise<string> =>
    templatePath({ storage, name: 'a.tar.zst' }, join(temp, 'storage.cfg'));

  it('finds the folder of templates', async () => {
    for (const [storage, expected] of [
      ['local', '/var/lib/vz/template/cache/a.tar.zst'],
      ['shared', '/mnt/pve/shared/template/cache/a.tar.zst'],
      ['elsewhere', '/srv/cifs/b/c/a.tar.zst'],
      ['ours', '/ours/template/cache/a.tar.zst'],
    ] as const) {
      assert.equal(await path(storage), expected);
    }
  });

  it('says why there can be no template', async () => {
    for (const [storage, message] of [
      ['absent', /storage.cfg has no storage absent$/],
      ['fast', /storage fast .* has no content vztmpl: add it/],
      ['thin', /has type "lvmthin", which has no templates/],
      ['off', /is disabled/],
      ['others', /is not for this node/],
    ] as const) {
      await assert.rejects(path(storage), { message });
    }
    await assert.rejects(templatePath({ storage: 'local', name: 'a.tar' }, join(temp, 'none')), {
      kind: 'failed-precondition',
      message: /there is no .*none: pve:\/\/ names need a Proxmox VE node/,
    });
  });

  it('has local where the file says nothing of it, and reads any text', () => {
    assert.equal(parseStorages('').get('local')?.properties.get('path'), '/var/lib/vz');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        for (const { type } of parseStorages(text).values()) assert.match(type, /^\S+$/);
      }),
    );
  });
});
