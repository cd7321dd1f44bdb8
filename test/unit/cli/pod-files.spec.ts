/** Files that `pvecri run` keeps for a pod, and that only its own pods lose. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readManifest } from '../../../src/cli/manifest/read.js';
import type { PodManifest } from '../../../src/cli/manifest/schema.js';
import {
  listPodFiles,
  makePodFiles,
  podFilesDirectory,
  removePodFiles,
  writeHostsFile,
} from '../../../src/cli/pod-files.js';
import { withTempFolder } from '../../support/temp.js';

const UID = '11111111-2222-3333-4444-555555555555';
const OTHER = '99999999-2222-3333-4444-555555555555';

function manifest(): PodManifest {
  const text = stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web' },
    spec: {
      containers: [
        { name: 'a', image: 'x' },
        { name: 'b', image: 'x' },
      ],
      volumes: [
        { name: 'data', emptyDir: {} },
        { name: 'host', hostPath: { path: '/srv' } },
      ],
    },
  });
  return readManifest(text, 'pod.yaml').pod;
}

describe('pod files', () => {
  it('are made whole and removed whole, with the log folder', async () => {
    await withTempFolder(async (root) => {
      const logs = join(root, 'logs', 'default_web_1');
      const directory = podFilesDirectory(root, UID);
      await makePodFiles(directory, logs, manifest());
      await writeHostsFile(directory, '127.0.0.1 localhost\n');
      assert.deepEqual(readdirSync(join(directory, 'volumes')), ['data']);
      assert.equal(statSync(join(directory, 'volumes/data')).mode & 0o7777, 0o777);
      assert.equal(statSync(join(directory, 'containers/a/termination-log')).mode & 0o777, 0o666);
      assert.equal(statSync(directory).mode & 0o777, 0o700);
      assert.deepEqual(readdirSync(logs), ['a', 'b']);
      assert.deepEqual(await listPodFiles(root), [UID]);
      await removePodFiles(root, UID);
      assert.deepEqual(readdirSync(root), ['logs']);
      assert.deepEqual(readdirSync(join(root, 'logs')), []);
      await removePodFiles(root, UID);
    });
  });

  it('of another pod stay', async () => {
    await withTempFolder(async (root) => {
      const logs = (uid: string): string => join(root, 'logs', uid);
      for (const uid of [UID, OTHER]) {
        await makePodFiles(podFilesDirectory(root, uid), logs(uid), manifest());
      }
      await removePodFiles(root, UID);
      assert.deepEqual(await listPodFiles(root), [OTHER]);
      assert.ok(existsSync(logs(OTHER)));
    });
  });

  it('are looked for by nothing but a uid', async () => {
    await withTempFolder(async (root) => {
      const victim = join(root, 'victim');
      mkdirSync(join(root, 'run-pods'));
      mkdirSync(victim);
      writeFileSync(join(victim, 'pod.json'), JSON.stringify({ version: 1, logDirectory: victim }));
      for (const uid of ['../victim', '..', '', '.', `${UID}/../../victim`, 'A'.repeat(36)]) {
        await removePodFiles(root, uid);
      }
      assert.ok(existsSync(victim));
    });
  });

  it('with a record that cannot be read stay, and say so', async () => {
    await withTempFolder(async (root) => {
      const directory = podFilesDirectory(root, UID);
      await makePodFiles(directory, join(root, 'logs'), manifest());
      writeFileSync(join(directory, 'pod.json'), '{"version":2}');
      await assert.rejects(
        removePodFiles(root, UID),
        /pod\.json, which names the pod's log folder/,
      );
      assert.ok(existsSync(directory));
    });
  });
});
