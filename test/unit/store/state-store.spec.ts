/** What is saved comes back byte for byte; junk is told, cleaned up or left, never fatal. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import type { ContainerId, ImageId, SandboxId } from '../../../src/core/ids.js';
import type { ContainerRecord, SandboxRecord } from '../../../src/core/model.js';
import { FileStateStore } from '../../../src/store/state-store.js';
import { withTempFolder } from '../../support/temp.js';

const sandboxId = (digit: string) => digit.repeat(64) as SandboxId;
const containerId = (digit: string) => digit.repeat(64) as ContainerId;

function sandbox(id: SandboxId, change: Partial<SandboxRecord> = {}): SandboxRecord {
  return {
    version: 1,
    id,
    phase: 'ready',
    createdAt: '1700000000000000000',
    bootId: 'b',
    metadata: { name: 'n', uid: 'u', namespace: 'default', attempt: 0 },
    hostname: 'h',
    logDirectory: '/var/log/pods/x',
    dns: { servers: ['10.0.0.10'], searches: [], options: ['ndots:5'] },
    portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '' }],
    labels: [['app', 'web']],
    annotations: [],
    cgroup: '/kubepods/pod1',
    ownsCgroup: false,
    namespaces: { network: 'pod', pid: 'container', ipc: 'pod', targetId: '' },
    userNamespace: null,
    sysctls: [],
    privileged: false,
    runtimeHandler: '',
    ips: ['10.1.2.3'],
    overhead: null,
    resources: null,
    resize: null,
    requestDigest: 'd',
    ...change,
  };
}

function container(id: ContainerId): ContainerRecord {
  return {
    version: 1,
    id,
    sandboxId: sandboxId('a'),
    phase: 'created',
    createdAt: '1',
    bootId: 'b',
    metadata: { name: 'c', attempt: 2 },
    userSpecifiedImage: 'busybox',
    image: 'busybox',
    imageId: `sha256:${'0'.repeat(64)}` as ImageId,
    imageRef: 'busybox@sha256:…',
    labels: [],
    annotations: [],
    logPath: '/log',
    mounts: [
      {
        containerPath: '/d',
        hostPath: '/h',
        readonly: true,
        recursiveReadonly: false,
        propagation: 'private',
        idMap: null,
        image: null,
      },
      {
        containerPath: '/v',
        hostPath: '',
        readonly: true,
        recursiveReadonly: false,
        propagation: 'private',
        idMap: null,
        image: {
          name: 'data',
          userSpecifiedImage: 'data:1',
          id: `sha256:${'1'.repeat(64)}` as ImageId,
          subPath: 'etc',
        },
      },
    ],
    cgroup: { outer: '/a', monitor: '/b', pivot: '/c', shim: '/d' },
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: {
      cpuShares: 2,
      cpuQuota: -1,
      cpuPeriod: 0,
      cpusetCpus: '0',
      cpusetMems: '',
      memoryLimitBytes: 0,
      memorySwapLimitBytes: 0,
      hugepages: [{ pageSize: '2MB', limitBytes: 2 ** 63 }],
      unified: [['memory.high', 'max']],
    },
    resize: null,
    stopSignal: 15,
    process: {
      env: ['A=\u0001\n'],
      cwd: '/',
      uid: 0,
      gid: 0,
      supplementalGroups: [],
      capabilities: [0, 1],
      ambientCapabilities: [],
      noNewPrivileges: true,
      seccompFlags: 0,
      apparmorProfile: null,
      oomScoreAdj: -997,
      rlimits: [],
    },
    deviceHooks: null,
    plugins: null,
    seccompProfile: 'runtime-default',
    pidNamespace: { mode: 'target', targetId: 'x' },
    stdin: false,
    stdinOnce: false,
    tty: false,
    requestDigest: 'd',
    lost: { at: '5', message: 'shim killed', startedAt: '4' },
  };
}

describe('FileStateStore', () => {
  it('starts from nothing', () =>
    withTempFolder(async (root) => {
      assert.deepEqual(await new FileStateStore(root).load(), {
        sandboxes: [],
        containers: [],
        unreadable: [],
      });
    }));

  it('brings back what was saved, in private folders and files', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(join(root, 'deep'));
      await store.saveSandbox(sandbox(sandboxId('a')));
      await store.saveContainer(container(containerId('c')));
      const { sandboxes, containers, unreadable } = await new FileStateStore(
        join(root, 'deep'),
      ).load();
      assert.deepEqual(sandboxes, [sandbox(sandboxId('a'))]);
      assert.deepEqual(containers, [container(containerId('c'))]);
      assert.deepEqual(unreadable, []);
      const folder = join(root, 'deep', 'containers', containerId('c'));
      assert.equal((await stat(folder)).mode & 0o777, 0o700);
      assert.equal((await stat(join(folder, 'container.json'))).mode & 0o777, 0o600);
    }));

  it('reads what agents wrote that could not change limits', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(root);
      const pod = sandbox(sandboxId('a'));
      const inside = container(containerId('c'));
      await store.saveSandbox(pod);
      await store.saveContainer(inside);
      for (const [file, newer] of [
        [`sandboxes/${pod.id}/sandbox.json`, ['overhead', 'resources', 'resize']],
        [`containers/${inside.id}/container.json`, ['resize']],
      ] as const) {
        const record = JSON.parse(await readFile(join(root, file), 'utf8')) as object;
        const old = Object.entries(record).filter(([key]) => !newer.some((each) => each === key));
        await writeFile(join(root, file), JSON.stringify(Object.fromEntries(old)));
      }
      assert.deepEqual(await store.load(), {
        sandboxes: [pod],
        containers: [inside],
        unreadable: [],
      });
    }));

  it('reads what agents wrote that knew no ambient capabilities and no target', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(root);
      const id = containerId('c');
      await store.saveContainer(container(id));
      const path = join(root, 'containers', id, 'container.json');
      const record = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
      delete record['pidNamespace'];
      delete (record['process'] as Record<string, unknown>)['ambientCapabilities'];
      await writeFile(path, JSON.stringify(record));
      const { containers, unreadable } = await store.load();
      assert.deepEqual(unreadable, []);
      assert.deepEqual(containers, [{ ...container(id), pidNamespace: null }]);
    }));

  it('keeps order and bytes of labels and annotations', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(root);
      const text = fc.string({ unit: 'binary', maxLength: 20 });
      const pairs = fc.array(fc.tuple(fc.oneof(text, fc.constant('__proto__')), text));
      await fc.assert(
        fc.asyncProperty(pairs, pairs, async (labels, annotations) => {
          const record = sandbox(sandboxId('b'), { labels, annotations });
          await store.saveSandbox(record);
          assert.deepEqual((await store.load()).sandboxes, [record]);
        }),
        { numRuns: 25 },
      );
    }));

  it('leaves the last of several saves that were asked for at once', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(root);
      const phases = ['creating', 'ready', 'stopping', 'stopped'] as const;
      await Promise.all(
        phases.map((phase) => store.saveSandbox(sandbox(sandboxId('a'), { phase }))),
      );
      assert.equal((await store.load()).sandboxes[0]?.phase, 'stopped');
    }));

  it('refuses to save what it could not load', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(root);
      await assert.rejects(
        store.saveSandbox(sandbox(sandboxId('a'), { createdAt: '-1' })),
        /cannot save sandbox a+: field createdAt is wrong/,
      );
      assert.deepEqual(await readdir(root), []);
    }));

  it('removes idempotently, with everything in the folder', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(root);
      await store.saveContainer(container(containerId('c')));
      await writeFile(join(root, 'containers', containerId('c'), 'exit'), 'x');
      await store.removeContainer(containerId('c'));
      await store.removeContainer(containerId('c'));
      await store.removeSandbox(sandboxId('f'));
      assert.deepEqual(await readdir(join(root, 'containers')), []);
    }));

  it('finishes what a kill interrupted, at every point', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(root);
      const folder = join(root, 'sandboxes');
      // Killed after the rename of a removal, and while it emptied the folder.
      await mkdir(join(folder, `.removing-${'1'.repeat(64)}`), { recursive: true });
      await writeFile(join(folder, `.removing-${'1'.repeat(64)}`, 'sandbox.json'), '{}');
      await mkdir(join(folder, `.removing-${'2'.repeat(64)}`));
      // Killed between mkdir and the rename of the first save.
      await mkdir(join(folder, sandboxId('3')));
      await mkdir(join(folder, sandboxId('4')));
      await writeFile(join(folder, sandboxId('4'), '.sandbox.json.000000000001-1.tmp'), '{"ver');
      // Killed in a later save.
      await store.saveSandbox(sandbox(sandboxId('5')));
      await writeFile(join(folder, sandboxId('5'), '.sandbox.json.000000000002-2.tmp'), '{"ver');
      const { sandboxes, unreadable } = await store.load();
      assert.deepEqual(sandboxes, [sandbox(sandboxId('5'))]);
      assert.deepEqual(unreadable, []);
      assert.deepEqual(await readdir(folder), [sandboxId('5')]);
      assert.deepEqual(await readdir(join(folder, sandboxId('5'))), ['sandbox.json']);
    }));

  it('tells what it cannot read and leaves it as it is', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(root);
      const folder = join(root, 'sandboxes');
      const good = JSON.stringify(sandbox(sandboxId('1')));
      const put = async (digit: string, content: string | Uint8Array) => {
        await mkdir(join(folder, sandboxId(digit)), { recursive: true });
        await writeFile(join(folder, sandboxId(digit), 'sandbox.json'), content);
      };
      await put('1', good);
      await put('2', '{"version": 2, "id": "future"}');
      await put('3', good.slice(0, 100));
      await put('4', '');
      await put('5', good);
      await put('6', good.replace('"ready"', '"odd"').replaceAll('1'.repeat(64), '6'.repeat(64)));
      await put('7', new Uint8Array([0xff, 0xfe]));
      await mkdir(join(folder, sandboxId('8'), 'sandbox.json'), { recursive: true });
      await mkdir(join(folder, sandboxId('9')));
      await writeFile(join(folder, sandboxId('9'), 'other'), '');
      await writeFile(join(folder, 'junk'), 'junk');
      await symlink('/etc', join(folder, sandboxId('d')));
      const { sandboxes, unreadable } = await store.load();
      assert.deepEqual(sandboxes, [sandbox(sandboxId('1'))]);
      const reasons = new Map(unreadable.map(({ path, reason }) => [path, reason]));
      const reason = (digit: string) =>
        reasons.get(join(folder, sandboxId(digit), 'sandbox.json')) ?? '';
      assert.match(reason('2'), /version 2, written by a newer agent/);
      assert.match(reason('3'), /JSON/);
      // What a power cut leaves of a record that did not wait for the disk.
      assert.equal(existsSync(join(folder, sandboxId('4'))), false);
      assert.match(reason('5'), /holds id 1+, not that of its folder/);
      assert.match(reason('6'), /field phase is wrong/);
      assert.match(reason('7'), /not valid/);
      assert.match(reason('8'), /not a regular file/);
      assert.match(reason('9'), /does not exist/);
      assert.match(reasons.get(join(folder, 'junk')) ?? '', /not a sandbox id/);
      assert.match(reasons.get(join(folder, sandboxId('d'))) ?? '', /not a folder/);
      assert.equal(reasons.size, 9);
      assert.equal(
        await readFile(join(folder, sandboxId('2'), 'sandbox.json'), 'utf8'),
        '{"version": 2, "id": "future"}',
      );
      assert.ok(existsSync(join(folder, sandboxId('9'), 'other')));
    }));

  it('never fails to load, whatever a record file holds', () =>
    withTempFolder(async (root) => {
      const store = new FileStateStore(root);
      const folder = join(root, 'containers', containerId('e'));
      await mkdir(folder, { recursive: true });
      await fc.assert(
        fc.asyncProperty(
          fc.oneof(
            fc.uint8Array({ minLength: 1 }),
            fc.json().map((text) => Buffer.from(text)),
            fc.constant(Buffer.from('null')),
          ),
          async (bytes) => {
            await writeFile(join(folder, 'container.json'), bytes);
            const { containers, unreadable } = await store.load();
            assert.equal(containers.length, 0);
            assert.equal(unreadable.length, 1);
          },
        ),
        { numRuns: 50 },
      );
    }));
});
