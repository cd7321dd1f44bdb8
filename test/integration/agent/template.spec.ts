/** Templates of Proxmox VE as images: pulled by the command and by CRI, run as pods, and who may pull them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { LOCAL_SOURCES, TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest } from '../../support/cri-requests.js';
import { OwnEtcPve } from '../../support/own-etc-pve.js';
import { until } from '../../support/processes.js';
import { makeBusyboxRoot } from '../../support/rootfs.js';
import { pvecri, type Run, type RunOptions } from '../cli/command.js';

const NAME = 'alpine-0-test_1_amd64.tar';
const COMPRESSIONS = { gz: '--gzip', xz: '--xz', zst: '--zstd' } as const;
// A script: busybox's own init would want terminals.
const INIT = '#!/bin/sh\ntrap "exit 0" PWR\necho "init is $$"\nwhile :; do sleep 0.1; done\n';

describe('template of Proxmox VE', function () {
  this.timeout(60_000);
  let agent: TestAgent;
  let etc: OwnEtcPve;
  let storage: string;
  let cache: string;

  const run = (args: string[], options?: RunOptions): Promise<Run> => pvecri(agent, args, options);
  const ok = async (args: string[], options?: RunOptions): Promise<string> => {
    const { code, stdout, stderr } = await run(args, options);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  const json = async (...args: string[]): Promise<unknown> =>
    JSON.parse(await ok([...args, '--json'])) as unknown;
  const spec = (image: string) => ({
    image,
    annotations: new Map<string, string>(),
    userSpecifiedImage: '',
    runtimeHandler: '',
    imageRef: '',
  });
  const pull = async (image: string): Promise<string> => {
    const request = { image: spec(image), auth: undefined, sandboxConfig: undefined };
    return (await agent.client.image.pullImage(request)).imageRef;
  };
  const none = async (): Promise<void> => {
    assert.deepEqual(await json('images'), []);
  };

  before(async () => {
    agent = new TestAgent();
    etc = await OwnEtcPve.make(agent.folder);
    agent.wrapper = etc.wrapper;
    storage = join(agent.folder, 'storage');
    cache = join(storage, 'template/cache');
    mkdirSync(cache, { recursive: true });
    const root = join(agent.folder, 'template');
    makeBusyboxRoot(root);
    mkdirSync(join(root, 'sbin'));
    writeFileSync(join(root, 'sbin/init'), INIT, { mode: 0o755 });
    for (const [suffix, option] of Object.entries(COMPRESSIONS)) {
      execFileSync('tar', [option, '-cf', join(cache, `${NAME}.${suffix}`), '-C', root, '.']);
    }
    writeFileSync(
      join(etc.folder, 'storage.cfg'),
      `dir: local\n\tpath ${storage}\n\tcontent iso,vztmpl\n\n` +
        `dir: disks\n\tpath ${storage}\n\tcontent images\n\n` +
        `dir: off\n\tpath ${storage}\n\tcontent vztmpl\n\tdisable 1\n\n` +
        `dir: away\n\tpath ${storage}\n\tcontent vztmpl\n\tnodes another\n\n` +
        `rbd: ceph\n\tpool rbd\n\tcontent images\n\nlvm: disk\n\tvgname pve\n\tcontent rootdir\n`,
    );
    await agent.start();
  });
  after(async () => {
    assert.deepEqual(await agent.close(), []);
    await etc.close();
  });
  afterEach(none);

  for (const suffix of Object.keys(COMPRESSIONS)) {
    it(`is pulled from a storage as .tar.${suffix}, runs in a pod, and is removed`, async () => {
      const reference = `pve://local:vztmpl/${NAME}.${suffix}`;
      const tag = `localhost/vztmpl/local:${NAME}.${suffix}`;
      const id = await ok(['pull', reference]);
      assert.equal(await ok(['pull', reference]), id);
      const [listed, ...others] = (await json('images')) as Record<string, unknown>[];
      assert.deepEqual([listed?.['id'], listed?.['repoTags'], others], [id, [tag], []]);
      assert.equal(await ok(['images', '-q', reference]), id);
      const inspected = JSON.parse(await ok(['inspect', reference])) as {
        info: { info: { imageSpec: { config: Record<string, unknown> } } };
      };
      assert.deepEqual(inspected.info.info.imageSpec.config['Cmd'], ['/sbin/init']);
      assert.equal(inspected.info.info.imageSpec.config['StopSignal'], 'SIGPWR');

      await agent.stop();
      await agent.start();
      assert.equal(await ok(['images', '-q', tag]), id);
      const container = { name: 'a', image: reference, command: ['cat', '/sbin/init'] };
      const manifest = stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'template' },
        spec: { hostNetwork: true, restartPolicy: 'Never', containers: [container] },
      });
      const log = join(agent.logs, 'pods');
      await ok(['run', '--wait', '--log-dir', log, '-'], { stdin: manifest });
      assert.match(await ok(['logs', 'template/a']), /^#!\/bin\/sh\n/);
      assert.match((await run(['rmi', reference])).stderr, /is used by container/);
      await ok(['rm', '-f', 'template']);
      assert.equal(await ok(['rmi', reference]), id);
      assert.equal((await run(['inspect', reference])).code, 3);
    });
  }

  it('runs its init, and ends by the signal for it', async () => {
    const { image, runtime } = agent.client;
    const path = join(cache, `${NAME}.zst`);
    const imageRef = await pull(path);
    const { image: found } = await image.imageStatus({ image: spec(path), verbose: false });
    assert.equal(found?.id, imageRef);
    assert.equal(await ok(['pull', path]), imageRef);

    const { podSandboxId } = await runtime.runPodSandbox(podRequest(agent, 'template'));
    const request = containerRequest(podSandboxId, 'init', [], { image: spec(path) });
    const { containerId } = await runtime.createContainer(request);
    await runtime.startContainer({ containerId });
    const { stdout } = await runtime.execSync({
      containerId,
      cmd: ['/bin/cat', '/proc/1/cmdline'],
      timeout: 10n,
    });
    assert.equal(Buffer.from(stdout).toString(), '/bin/sh\0/sbin/init\0');
    await runtime.stopContainer({ containerId, timeout: 20n });
    const { status } = await runtime.containerStatus({ containerId, verbose: false });
    assert.equal(status?.exitCode, 0);
    await runtime.removePodSandbox({ podSandboxId });
    await image.removeImage({ image: spec(path) });
  });

  describe('that cannot be had', () => {
    const damaged = 'damaged_1_amd64.tar.zst';
    before(() => {
      const good = readFileSync(join(cache, `${NAME}.zst`));
      writeFileSync(join(cache, damaged), good.subarray(0, good.length / 2));
      writeFileSync(join(cache, 'text_1_amd64.tar.gz'), 'no archive at all\n'.repeat(100));
      writeFileSync(join(cache, 'empty_1_amd64.tar'), '');
      mkdirSync(join(cache, 'folder.tar'));
      execFileSync('mkfifo', [join(cache, 'fifo.tar')]);
      writeFileSync(join(storage, 'private.tar.gz'), readFileSync(join(cache, `${NAME}.gz`)));
      symlinkSync('../../private.tar.gz', join(cache, 'link.tar.gz'));
      symlinkSync('nowhere', join(cache, 'dangling.tar'));
    });

    for (const [volume, code, message] of [
      ['absent:vztmpl/a.tar', 3, /\/etc\/pve\/storage\.cfg has no storage absent$/m],
      ['disks:vztmpl/a.tar', 1, /storage disks .* has no content vztmpl: add it, e\.g\. by pvesm/],
      ['off:vztmpl/a.tar', 1, /storage off .* is disabled/],
      ['away:vztmpl/a.tar', 1, /storage away .* is not for this node/],
      ['ceph:vztmpl/a.tar', 1, /storage ceph .* has type "rbd", which has no templates/],
      ['disk:vztmpl/a.tar', 1, /storage disk .* has type "lvm", which has no templates/],
      ['local:vztmpl/../../private.tar.gz', 1, /is no pve:\/\/STORAGE:vztmpl\/NAME/],
      ['local:vztmpl/..', 1, /is no pve:\/\/STORAGE:vztmpl\/NAME/],
      ['local:vztmpl/a.iso', 1, /with a NAME that ends in \.tar/],
      ['local:iso/a.tar', 1, /is no pve:\/\/STORAGE:vztmpl\/NAME/],
      ['local:vztmpl/gone.tar.zst', 3, /there is no template \S+\/cache\/gone\.tar\.zst$/m],
      ['local:vztmpl/dangling.tar', 3, /there is no template \S+\/cache\/dangling\.tar$/m],
      ['local:vztmpl/link.tar.gz', 1, /link\.tar\.gz is a link that leads out of storage local/],
      ['local:vztmpl/folder.tar', 1, /folder\.tar is not a regular file/],
      ['local:vztmpl/fifo.tar', 1, /fifo\.tar is not a regular file/],
      ['local:vztmpl/text_1_amd64.tar.gz', 1, /text_1_amd64\.tar\.gz is no sound tar archive/],
      ['local:vztmpl/empty_1_amd64.tar', 1, /empty_1_amd64\.tar is empty/],
      [`local:vztmpl/${damaged}`, 1, /damaged|truncated|unsound/],
    ] as const) {
      it(`pve://${volume}`, async () => {
        const result = await run(['pull', `pve://${volume}`]);
        assert.match(result.stderr, message);
        assert.match(result.stderr, /^pvecri: [^\n]*\n$/);
        assert.deepEqual([result.code, result.stdout], [code, '']);
      });
    }
  });

  describe('for pods', () => {
    const kind = 'permission-denied';
    const zst = `${NAME}.zst`;
    const configure = (sources: string): void => {
      const text = readFileSync(agent.configFile, 'utf8');
      writeFileSync(agent.configFile, text.replace(/^\[images\]\n.*$/m, `[images]\n${sources}`));
    };
    const reload = async (list: string[]): Promise<void> => {
      configure(`local_sources = ${JSON.stringify(list)}`);
      const before = agent.output.length;
      process.kill(agent.pid, 'SIGHUP');
      await until(() => /reload/.test(agent.output.slice(before)));
    };

    it('is not to be had by default: a pod names no file of the node', async () => {
      assert.ok(readFileSync(agent.configFile, 'utf8').includes(LOCAL_SOURCES));
      configure('');
      await agent.stop();
      await agent.start();
      const message = /names files of this node, which pods may not choose: pull it here by/;
      for (const reference of [
        `pve://local:vztmpl/${zst}`,
        `localhost/vztmpl/local:${zst}`,
        'pve://absent:vztmpl/a.tar',
        join(cache, zst),
        `oci:${storage}`,
        `oci-archive:${join(cache, zst)}`,
        '/no/such/file',
      ]) {
        await assert.rejects(pull(reference), { kind, message }, reference);
      }
      // Root pulls it; then it is an image like any other.
      const id = await ok(['pull', `pve://local:vztmpl/${zst}`]);
      const image = spec(`localhost/vztmpl/local:${zst}`);
      const found = await agent.client.image.imageStatus({ image, verbose: false });
      assert.equal(found.image?.id, id);
      await assert.rejects(pull(`pve://local:vztmpl/${zst}`), { kind });
      await ok(['rmi', id]);
    });

    it('comes from the storages and folders that are listed, by a name a kubelet takes', async () => {
      await reload(['pve://local', cache]);
      const id = await pull(`localhost/vztmpl/local:${zst}`);
      assert.equal(await pull(`pve://local:vztmpl/${zst}`), id);
      assert.equal(await pull(join(cache, zst)), id);
      await assert.rejects(pull(`pve://disks:vztmpl/${zst}`), { kind });
      for (const path of [
        join(storage, 'private.tar.gz'),
        `${cache}/../../private.tar.gz`,
        `${cache}-other/a.tar`,
        join(cache, 'link.tar.gz'),
      ]) {
        await assert.rejects(pull(path), { kind }, path);
      }
      await reload(['pve://*']);
      await assert.rejects(pull(join(cache, zst)), { kind });
      await assert.rejects(pull(`pve://disks:vztmpl/${zst}`), {
        message: /has no content vztmpl/,
      });
      await ok(['rmi', id]);
    });

    it('is looked for anew: what is gone or has changed is told', async () => {
      const id = await pull(`localhost/vztmpl/local:${zst}`);
      const aside = join(storage, 'aside');
      renameSync(join(cache, zst), aside);
      await assert.rejects(pull(`localhost/vztmpl/local:${zst}`), { kind: 'not-found' });
      assert.equal(await ok(['images', '-q', `localhost/vztmpl/local:${zst}`]), id);
      renameSync(aside, join(cache, zst));
      assert.equal(await pull(`localhost/vztmpl/local:${zst}`), id);
      await ok(['rmi', id]);
    });
  });
});
