/** The image service through CRI as a kubelet uses it: pulls without their caller, removal, figures. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ContainerState } from '../../../src/cri/gen/container.js';
import type { Image } from '../../../src/cri/gen/image.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { TestAgent } from '../../support/agent.js';
import { busyboxImage } from '../../support/busybox-image.js';
import { IMAGE } from '../../support/cri-requests.js';
import { startRegistryBeside, type DockerRegistry } from '../../support/docker-registry.js';
import { buildImage, writeLayout, type BuiltImage } from '../../support/oci-image.js';
import { PodClient } from '../../support/pod-client.js';
import { until } from '../../support/processes.js';
import { file, folder } from '../../support/tar.js';

describe('the image service', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pods: PodClient;
  let made = 0;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
  });
  after(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  const spec = (image: string) => ({
    image,
    annotations: new Map<string, string>(),
    userSpecifiedImage: '',
    runtimeHandler: '',
    imageRef: '',
  });
  const pull = (image: string, timeoutMs?: number) =>
    agent.client.image.pullImage(
      { image: spec(image), auth: undefined, sandboxConfig: undefined },
      timeoutMs === undefined ? {} : { timeoutMs },
    );
  /** Pulls one image under several names, from a layout of its own. */
  const pullAs = async (image: BuiltImage, ...names: string[]): Promise<void> => {
    for (const name of names) {
      const path = join(agent.folder, `layout-${(made += 1)}`);
      writeLayout(path, { [name]: image });
      await pull(`oci:${path}:${name}`);
    }
  };
  const remove = (image: string) => agent.client.image.removeImage({ image: spec(image) });
  const status = async (image: string): Promise<Image | undefined> =>
    (await agent.client.image.imageStatus({ image: spec(image), verbose: false })).image;
  const list = async (image = ''): Promise<Image[]> =>
    (await agent.client.image.listImages({ filter: { image: spec(image) } })).images;
  const small = (name: string): BuiltImage =>
    buildImage({ layers: [[file(name, name)]], config: { Cmd: ['/x'] } });

  describe('with a registry', () => {
    const slow = small('slow');
    let registry: DockerRegistry;

    before(async () => {
      registry = await startRegistryBeside(agent.netns, agent.folder, { 'team/slow:1': slow });
    });
    after(() => registry.stop());

    it('goes on with a pull whose caller has gone, and shares it with the repeat', async () => {
      const name = `${registry.host}/team/slow:1`;
      process.kill(registry.pid, 'SIGSTOP');
      try {
        await assert.rejects(pull(name, 300), { kind: 'deadline-exceeded' });
        const repeat = pull(name);
        process.kill(registry.pid, 'SIGCONT');
        assert.equal((await repeat).imageRef, slow.id);
        await remove(name);

        process.kill(registry.pid, 'SIGSTOP');
        await assert.rejects(pull(name, 300), { kind: 'deadline-exceeded' });
      } finally {
        process.kill(registry.pid, 'SIGCONT');
      }
      await until(async () => (await status(name))?.id === slow.id);
      await remove(slow.id);
    });
  });

  it('removes all names of an image by any of them, however often and at once', async () => {
    const image = small('removed');
    const names = ['one.example/a:1', 'two.example/b:2', 'one.example/a:3'];
    const digest = `two.example/b@${image.manifest.digest}`;
    const ways = [...names, digest, image.id, image.id.slice(7), image.id.slice(7, 20)];
    for (const way of ways) {
      await pullAs(image, ...names);
      const found = await status(way);
      assert.deepEqual(found?.repoTags.sort(), [...names].sort());
      assert.equal(found.repoDigests.length, 2);
      await remove(way);
      for (const each of ways) assert.equal(await status(each), undefined, `${way}: ${each}`);
      await remove(way);
    }
    for (let round = 0; round < 5; round += 1) {
      await pullAs(image, ...names);
      const ends = [...ways, ...ways].map(async (way) => {
        await remove(way);
        // Whichever came first: after the answer it is gone.
        assert.equal(await status(image.id), undefined);
        assert.deepEqual(await list(way), []);
      });
      await Promise.all(ends);
    }
    await assert.rejects(remove(''), { kind: 'invalid-argument' });
  });

  it('keeps an image whose container stands, and what runs of it', async () => {
    const image = busyboxImage({}, [file('own', 'x')]);
    await pullAs(image, 'one.example/used:1', 'two.example/used:1');
    const pod = await pods.run('pod', {}, NamespaceMode.NODE);
    const id = await pods.begin(pod, 'sleep 600', { image: { image: image.id } });
    const kind = 'failed-precondition';
    for (const way of ['one.example/used:1', image.id]) {
      await assert.rejects(remove(way), { kind, message: new RegExp(`used by container ${id}`) });
    }
    assert.equal((await status(image.id))?.repoTags.length, 2);
    assert.equal(await pods.exec(id, 'cat /own'), 'x');
    assert.equal((await pods.status(id)).state, ContainerState.CONTAINER_RUNNING);
    await pods.removePod(pod);
    await remove('two.example/used:1');
    assert.equal(await status(image.id), undefined);
  });

  it('comes to a whole image or none when a pull and a removal meet', async () => {
    const image = busyboxImage({}, [file('meets', 'x')]);
    const pod = await pods.run('meeting', {}, NamespaceMode.NODE);
    for (let round = 0; round < 8; round += 1) {
      const pulling = pullAs(image, 'one.example/meets:1');
      await new Promise((resolve) => setTimeout(resolve, round * 8));
      await Promise.all([remove('one.example/meets:1'), pulling]);
      if ((await status('one.example/meets:1')) === undefined) continue;
      const change = { image: { image: image.id } };
      assert.equal(await pods.output(pod, 'cat /meets', change), 'x');
      await remove(image.id);
    }
    await pods.removePod(pod);
  });

  it('filters the list by any name of an image', async () => {
    const image = small('listed');
    await pullAs(image, 'one.example/listed:1');
    assert.equal((await agent.client.image.listImages({ filter: undefined })).images.length, 2);
    assert.equal((await list()).length, 2);
    for (const way of ['one.example/listed:1', image.id, image.id.slice(7, 20)]) {
      assert.deepEqual(
        (await list(way)).map(({ id }) => id),
        [image.id],
      );
    }
    assert.deepEqual(await list('one.example/listed:2'), []);
    await remove(image.id);
  });

  it('says what an image consists of', async () => {
    const image = small('verbose');
    await pullAs(image, 'one.example/verbose:1');
    const answer = await agent.client.image.imageStatus({ image: spec(image.id), verbose: true });
    const layer = image.blobs[1];
    assert.equal(answer.image?.size, BigInt(image.blobs.reduce((n, b) => n + b.bytes.length, 0)));
    assert.equal(answer.image.pinned, false);
    const info = JSON.parse(answer.info.get('info') ?? '{}') as {
      layers: { digest: string; diffId: string; size: number; unpackedBytes: number }[];
      imageSpec: { config: unknown };
    };
    assert.deepEqual(
      info.layers.map(({ digest, diffId, size }) => [digest, diffId, size]),
      [[layer?.digest, image.diffIds[0], layer?.bytes.length]],
    );
    assert.ok((info.layers[0]?.unpackedBytes ?? 0) >= 4096);
    assert.deepEqual(info.imageSpec.config, { Cmd: ['/x'] });
    await remove(image.id);
  });

  it('tells the user of an image as it is written', async () => {
    const users: [user: string, uid: bigint | undefined, username: string][] = [
      ['', 0n, ''],
      ['0', 0n, ''],
      ['0:0', 0n, ''],
      ['1000', 1000n, ''],
      ['1000:0', 1000n, ''],
      ['2147483647', 2_147_483_647n, ''],
      ['app', undefined, 'app'],
      ['root', undefined, 'root'],
      ['app:app', undefined, 'app'],
      // None of these is a number that anybody could take for a user who is not root.
      ...['4294967296', '2147483648', '4294967295', '-1', '0x0', '+0', '00'].map(
        (user): [string, undefined, string] => [user, undefined, user],
      ),
    ];
    for (const [at, [user, uid, username]] of users.entries()) {
      const image = buildImage({ layers: [[file('x')]], config: { User: user } });
      await pullAs(image, `one.example/user:${at}`);
      const found = await status(image.id);
      assert.deepEqual([found?.uid?.value, found?.username], [uid, username], user);
      await remove(image.id);
    }
  });

  it('is not held up by what an image has for its user files', async () => {
    const pod = await pods.run('users', {}, NamespaceMode.NODE);
    const big = 'x:x:1:1::/:/bin/sh\n'.repeat(300_000);
    const cases: [name: string, top: Parameters<typeof buildImage>[0]['layers'][0]][] = [
      ['big', [file('etc/passwd', big)]],
      ['big-group', [file('etc/group', big)]],
      // 1 GiB of nothing on disk and in the archive: a sparse entry of GNU tar's pax format.
      ['fifo', [{ name: 'etc/passwd', type: '6' }]],
      ['fifo-group', [{ name: 'etc/group', type: '6' }]],
      ['zero', [{ name: 'etc/passwd', type: '2', link: '/dev/zero' }]],
      ['loop', [{ name: 'etc/passwd', type: '2', link: 'passwd' }]],
      ['folder', [folder('etc/passwd/')]],
    ];
    for (const [name, top] of cases) {
      const image = busyboxImage({ User: 'app' }, Buffer.isBuffer(top) ? [] : top);
      await pullAs(image, `one.example/${name}:1`);
      const startedAt = Date.now();
      const outcome = await pods
        .output(pod, 'id -u', { image: { image: image.id } })
        .catch((error: unknown) => String(error));
      assert.notEqual(outcome, '0', name);
      assert.ok(Date.now() - startedAt < 20_000, name);
      await remove(image.id);
    }
    await pods.removePod(pod);
  });

  it('tells what images take on disk as du does', async () => {
    const layers = Array.from({ length: 4 }, (_, at) => [
      folder('d/'),
      ...Array.from({ length: 40 }, (__, n) => file(`d/${at}-${n}`, 'x'.repeat(n * 333))),
    ]);
    const image = buildImage({ layers });
    await pullAs(image, 'one.example/measured:1');
    const root = join(agent.root, 'images');
    const measured = (): number => {
      const what = ['blobs', 'layers'].map((name) => join(root, name));
      const { status, stdout } = spawnSync('du', ['-sc', '--block-size=1', ...what]);
      // It fails over a file that leaves meanwhile: a record that is written has another name first.
      return status === 0 ? parseInt(String(stdout).trimEnd().split('\n').at(-1) ?? '') : NaN;
    };
    const figures = async () => {
      const { imageFilesystems } = await agent.client.image.imageFsInfo({});
      const [first] = imageFilesystems;
      assert.ok(first?.usedBytes && first.inodesUsed && first.timestamp > 0n);
      assert.ok(root.startsWith(first.fsId?.mountpoint ?? '?'));
      return [Number(first.usedBytes.value), Number(first.inodesUsed.value)] as const;
    };
    await until(async () => {
      const [bytes] = await figures();
      return Math.abs(bytes - measured()) < 0.02 * measured();
    });
    const before = (await figures())[0];
    await remove(image.id);
    const [after] = await figures();
    assert.ok(before - after > 4 * 40 * 4096, `${before} to ${after}`);
    assert.ok(Math.abs(after - measured()) < 0.02 * measured());
    assert.equal(readdirSync(join(root, 'tmp')).length, 0);
    assert.ok(await status(IMAGE));
  });
});
