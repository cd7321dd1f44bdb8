/** Images as volumes through CRI: what is seen, what is refused, and how long an image stays. */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { PullImageRequest } from '../../../src/cri/gen/index.js';
import type { Mount } from '../../../src/cri/gen/mount.js';
import { TestAgent } from '../../support/agent.js';
import { pvecri } from '../cli/command.js';
import { buildArtifact, writeLayout } from '../../support/oci-image.js';
import { PodClient } from '../../support/pod-client.js';
import { file, folder, symlink } from '../../support/tar.js';

describe('image volumes', function () {
  this.timeout(120_000);
  const DATA = 'example.org/data:1';
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;
  let dataId: string;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
    await pods.pullWith(DATA, [
      folder('data'),
      folder('data/deep'),
      file('data/deep/file', 'content\n'),
      file('bin/.wh.vi', ''),
      symlink('inside', 'data/deep'),
      symlink('absolute', '/data'),
      symlink('outside', '../../../../../../proc/self/root'),
      symlink('up', '../../../../../..'),
      symlink('loop', 'loop'),
      symlink('to-proc', '/proc/self/fd'),
      file('setuid', 'x', { mode: 0o4755 }),
    ]);
    dataId = (await images()).find(({ repoTags }) => repoTags.includes(DATA))?.id ?? '';
    pod = await pods.run('pod');
  });

  after(async () => {
    await pods.removePod(pod);
    assert.deepEqual(await agent.close(), []);
  });

  async function images() {
    return (await agent.client.image.listImages({ filter: undefined })).images;
  }

  async function removeImage(image: string): Promise<void> {
    await agent.client.image.removeImage({ image: spec(image) });
  }

  const spec = (image: string) => ({
    image,
    annotations: new Map<string, string>(),
    userSpecifiedImage: DATA,
    runtimeHandler: '',
    imageRef: '',
  });
  const volume = (image: string, imageSubPath = '', more: Partial<Mount> = {}) => ({
    containerPath: '/volume',
    readonly: true,
    image: spec(image),
    imageSubPath,
    ...more,
  });
  const output = (script: string, ...mounts: ReturnType<typeof volume>[]) =>
    pods.output(pod, script, { mounts });

  async function refused(mount: object, kind: string, message: RegExp): Promise<void> {
    await assert.rejects(pods.create(pod, 'true', { mounts: [mount] }), { kind, message });
    const { containers } = await agent.client.runtime.listContainers({ filter: undefined });
    assert.deepEqual(containers, []);
    assert.equal(detachedMounts(), 0, 'no mount is left open');
  }

  /** Descriptors of mounts that are attached nowhere: their root is all there is to name. */
  function detachedMounts(): number {
    const own = `/proc/${agent.pid}/fd`;
    return readdirSync(own).filter((name) => readlinkSync(join(own, name)) === '/').length;
  }

  it('show the whole image, whiteouts applied, and cannot be written to', async () => {
    for (const name of [DATA, dataId]) {
      const text = await output(
        'exec 2>&1; cat /volume/data/deep/file; ls /volume/bin/vi /volume/bin/sh; touch /volume/new;' +
          'rm /volume/setuid; mount -o remount,rw /volume; grep " /volume " /proc/mounts',
        volume(name),
      );
      assert.match(text, /^content\n/);
      assert.match(text, /ls: \/volume\/bin\/vi: No such file/);
      assert.match(text, /^\/volume\/bin\/sh$/m);
      assert.match(text, /touch: \/volume\/new: Read-only file system/);
      assert.match(text, /rm: .*Read-only file system/);
      assert.match(text, /^\S+ \/volume overlay ro,nosuid,nodev,relatime,/m);
    }
  });

  it('run programs', async () => {
    assert.equal(await output('/volume/bin/echo here', volume(DATA)), 'here');
  });

  it('may show a folder of the image, wherever its links lead inside', async () => {
    for (const path of ['data/deep', 'data//./deep/', 'inside', 'absolute/deep']) {
      assert.equal(await output('ls /volume', volume(DATA, path)), 'file', path);
    }
    for (const path of ['up', 'up/up/up']) {
      assert.match(await output('ls /volume', volume(DATA, path)), /^data$/m);
    }
    // A link to the host's root leads to the image's, where no such folder is.
    await refused(
      volume(DATA, 'outside'),
      'image-volume-failed',
      /cannot mount image sha256:\w+ at \/volume: "outside" is no folder in image/,
    );
  });

  it('of different images may be many', async () => {
    const mounts = Array.from({ length: 20 }, (_, index) => ({
      ...volume(index % 2 === 0 ? DATA : dataId, index % 3 === 0 ? 'data/deep' : ''),
      containerPath: `/many/${index}`,
    }));
    assert.equal(
      await output('ls -d /many/*/file | wc -l; ls -d /many/*/bin | wc -l', ...mounts),
      '7\n13',
    );
  });

  it('refuse what leads nowhere, is a file, or could reach the host', async () => {
    const failed = 'image-volume-failed';
    await refused(volume(DATA, 'none'), failed, /"none" is no folder in image/);
    await refused(volume(DATA, 'data/deep/file'), failed, /is no folder/);
    await refused(volume(DATA, 'loop'), failed, /is no folder/);
    await refused(volume(DATA, 'to-proc'), failed, /is no folder/);
    await refused(
      volume('example.org/none:1'),
      failed,
      /"example.org\/none:1" of mount \/volume is not present: pull it first/,
    );
    const invalid = 'invalid-argument';
    await refused(volume(DATA, '../data'), invalid, /image_sub_path .* must not contain ".."/);
    await refused(volume(DATA, '/data'), invalid, /image_sub_path .* must be a relative path/);
    await refused(volume(DATA, 'a\nb'), invalid, /control characters/);
    await refused(
      volume(DATA, '', { readonly: false }),
      invalid,
      /an image volume is read-only: set readonly/,
    );
    await refused(volume(DATA, '', { hostPath: '/etc' }), invalid, /has no host_path/);
    await refused(volume(DATA, '', { propagation: 2 }), invalid, /cannot propagate/);
  });

  it('show the files of an artifact, which can be nothing else', async () => {
    const name = 'example.org/model:1';
    const artifact = buildArtifact({
      'weights.bin': 'x'.repeat(100_000),
      'conf/deep/model.json': '{}',
      './same.json': '{}',
    });
    const layout = join(agent.folder, 'artifact');
    writeLayout(layout, { [name]: artifact });
    const pull = () =>
      agent.client.image.pullImage(PullImageRequest.create({ image: { image: `oci:${layout}` } }));
    assert.equal((await pull()).imageRef, artifact.id);
    const listed = (await images()).find(({ id }) => id === artifact.id);
    assert.deepEqual(listed?.repoTags, [name]);
    assert.equal(listed.size, 100_006n);

    const script =
      'exec 2>&1; cd /volume; find . | sort; wc -c weights.bin; cat same.json; echo; touch new; rm same.json';
    const user = { linux: { securityContext: { runAsUser: { value: 1000n } } } };
    const text = await pods.output(pod, script, { mounts: [volume(name)], ...user });
    assert.match(
      text,
      /^\.\n\.\/conf\n\.\/conf\/deep\n\.\/conf\/deep\/model\.json\n\.\/same\.json\n\.\/weights\.bin\n100000 weights\.bin\n\{\}/,
    );
    assert.equal(text.match(/Read-only file system/g)?.length, 2);
    assert.equal(await output('ls /volume', volume(artifact.id, 'conf/deep')), 'model.json');
    await refused(
      volume(name, 'same.json'),
      'image-volume-failed',
      /"same.json" is no folder in artifact/,
    );

    await assert.rejects(pods.create(pod, 'true', { image: spec(name) }), {
      kind: 'failed-precondition',
      message: /is an artifact, which no container can be made of/,
    });

    const id = await pods.begin(pod, 'sleep 1000', { mounts: [volume(name)] });
    await agent.stop('SIGKILL');
    await agent.start();
    assert.equal(await pods.exec(id, 'cat /volume/same.json'), '{}');
    await assert.rejects(removeImage(name), { kind: 'failed-precondition' });
    await pods.remove(id);
    await removeImage(name);
    assert.deepEqual(readdirSync(join(agent.root, 'images/artifacts')), []);
    const { stdout } = await pvecri(agent, ['images', '--json']);
    assert.doesNotMatch(stdout, /model/);
  });

  it('are no artifacts whose files have names that lead elsewhere', async () => {
    const cases = [
      { '../up': 'x' },
      { '/etc/passwd': 'x' },
      { a: 'x', 'a/b': 'y' },
      { 'a//b': 'x' },
    ];
    for (const [index, files] of cases.entries()) {
      const layout = join(agent.folder, `bad-${index}`);
      writeLayout(layout, { 'example.org/bad:1': buildArtifact(files) });
      const request = PullImageRequest.create({ image: { image: `oci:${layout}` } });
      await assert.rejects(agent.client.image.pullImage(request), {
        kind: 'invalid-argument',
        message: /no path of a file|as a file and as a folder/,
      });
    }
  });

  it('are told with the image they show, and keep it, also for the next agent', async () => {
    const id = await pods.begin(pod, 'sleep 1000', { mounts: [volume(DATA, 'data')] });
    const inUse = { kind: 'failed-precondition', message: new RegExp(`used by container ${id}`) };
    const told = async (): Promise<void> => {
      const [mount] = (await pods.status(id)).mounts;
      assert.ok(mount);
      assert.equal(mount.image?.image, DATA);
      assert.equal(mount.image.imageRef, dataId);
      assert.equal(mount.image.userSpecifiedImage, DATA);
      assert.equal(mount.imageSubPath, 'data');
      assert.deepEqual(
        [mount.hostPath, mount.containerPath, mount.readonly],
        ['', '/volume', true],
      );
      await assert.rejects(removeImage(DATA), inUse);
    };
    await told();
    await agent.stop('SIGKILL');
    await agent.start();
    await told();
    assert.equal(await pods.exec(id, 'cat /volume/deep/file'), 'content');
    await pods.remove(id);
    await removeImage(DATA);
    assert.equal(
      (await images()).some((image) => image.id === dataId),
      false,
    );
  });
});
