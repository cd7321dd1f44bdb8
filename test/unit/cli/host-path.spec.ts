/** hostPath types against real files. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { CommandFailure } from '../../../src/cli/failure.js';
import { prepareHostPaths } from '../../../src/cli/host-path.js';
import { readManifest } from '../../../src/cli/manifest/read.js';
import { withTempFolder } from '../../support/temp.js';

async function prepare(path: string, type: string): Promise<string | undefined> {
  const text = stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web' },
    spec: {
      containers: [{ name: 'main', image: 'busybox' }],
      volumes: [{ name: 'data', hostPath: { path, type } }],
    },
  });
  try {
    await prepareHostPaths(readManifest(text, 'pod.yaml').pod.spec);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof CommandFailure && error.kind === 'failed-precondition');
    assert.match(error.message, /^spec\.volumes\[0\]\.hostPath: /);
    return error.message;
  }
}

describe('prepareHostPaths', () => {
  it('makes what may be made, and keeps what is there', async () => {
    await withTempFolder(async (folder) => {
      assert.equal(await prepare(join(folder, 'a/b'), 'DirectoryOrCreate'), undefined);
      assert.ok(statSync(join(folder, 'a/b')).isDirectory());
      assert.equal(await prepare(join(folder, 'a/b'), 'DirectoryOrCreate'), undefined);
      writeFileSync(join(folder, 'file'), 'kept');
      assert.equal(await prepare(join(folder, 'file'), 'FileOrCreate'), undefined);
      assert.equal(statSync(join(folder, 'file')).size, 4);
      assert.equal(await prepare(join(folder, 'new'), 'FileOrCreate'), undefined);
      assert.ok(statSync(join(folder, 'new')).isFile());
    });
  });

  it('checks nothing without a type', async () => {
    await withTempFolder(async (folder) => {
      assert.equal(await prepare(join(folder, 'none'), ''), undefined);
      assert.ok(!existsSync(join(folder, 'none')));
    });
  });

  it('refuses what is not there or of another kind', async () => {
    await withTempFolder(async (folder) => {
      const file = join(folder, 'file');
      const directory = join(folder, 'folder');
      const socket = join(folder, 'socket');
      writeFileSync(file, '');
      mkdirSync(directory);
      const server = createServer();
      await new Promise<void>((done) => server.listen(socket, done));
      assert.match((await prepare(join(folder, 'no'), 'Directory')) ?? '', /does not exist/);
      assert.match((await prepare(join(file, 'below'), 'File')) ?? '', /does not exist/);
      for (const [path, type, isGood] of [
        [directory, 'Directory', true],
        [file, 'Directory', false],
        [file, 'DirectoryOrCreate', false],
        [file, 'File', true],
        [directory, 'File', false],
        [directory, 'FileOrCreate', false],
        [socket, 'Socket', true],
        [file, 'Socket', false],
        ['/dev/null', 'CharDevice', true],
        [file, 'CharDevice', false],
        [file, 'BlockDevice', false],
      ] as const) {
        const told = await prepare(path, type);
        assert.equal(told === undefined, isGood, `${path} ${type}: ${told ?? ''}`);
      }
      await new Promise((done) => server.close(done));
    });
  });
});
