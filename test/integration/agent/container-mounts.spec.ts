/** Mounts of a container through CRI: order, number, kinds, propagation, and what is refused. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MountPropagation } from '../../../src/cri/gen/mount.js';
import { TestAgent } from '../../support/agent.js';
import { PodClient } from '../../support/pod-client.js';
import { symlink } from '../../support/tar.js';

const { PROPAGATION_PRIVATE, PROPAGATION_HOST_TO_CONTAINER, PROPAGATION_BIDIRECTIONAL } =
  MountPropagation;

describe('mounts of a container', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;
  let host: string;
  const mountShared = (path: string): void => {
    mkdirSync(path, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', 'none', path]);
    execFileSync('mount', ['--make-shared', path]);
  };

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
    pod = await pods.run('pod', { linux: { securityContext: { privileged: true } } });
    host = join(agent.folder, 'host');
    mkdirSync(host);
    // Nothing of the machine's decides what propagates.
    execFileSync('mount', ['-t', 'tmpfs', 'none', host]);
    execFileSync('mount', ['--make-private', host]);
    writeFileSync(join(host, 'file'), 'content\n');
    mkdirSync(join(host, 'folder/inner'), { recursive: true });
    writeFileSync(join(host, 'folder/here'), '');
  });

  after(async () => {
    await pods.removePod(pod);
    execFileSync('umount', ['-R', host]);
    assert.deepEqual(await agent.close(), []);
  });

  const at = (name: string, containerPath: string, more: object = {}) => ({
    hostPath: join(host, name),
    containerPath,
    ...more,
  });
  const output = (script: string, ...mounts: ReturnType<typeof at>[]) =>
    pods.output(pod, script, { mounts });
  const refused = async (
    mounts: ReturnType<typeof at>[],
    kind: string,
    message: RegExp,
  ): Promise<void> => {
    await assert.rejects(pods.create(pod, 'true', { mounts }), { kind, message });
    const { containers } = await agent.client.runtime.listContainers({ filter: undefined });
    assert.deepEqual(containers, []);
  };

  it('lie within each other in whatever order they are given', async () => {
    for (const name of ['a', 'a-b', 'a-b-c']) {
      mkdirSync(join(host, name));
      writeFileSync(join(host, name, `in-${name}`), '');
    }
    const text = await output(
      'ls /a /a/b /a/b/c',
      at('a-b-c', '/a/b/c'),
      at('a-b', '//a/./b/'),
      at('a', '/a'),
    );
    assert.equal(text, '/a:\nb\nin-a\n\n/a/b:\nc\nin-a-b\n\n/a/b/c:\nin-a-b-c');
  });

  it('may be a hundred', async () => {
    const many = Array.from({ length: 100 }, (_, i) => at('file', `/many/${i}`));
    assert.equal(await output('cat /many/* | wc -l', ...many), '100');
    const folders = Array.from({ length: 100 }, (_, i) => at('folder', `/deep${'/x'.repeat(i)}`));
    assert.equal(await output(`ls /deep${'/x'.repeat(99)}`, ...folders), 'here\ninner\nx');
  });

  it('are told as they were asked for', async () => {
    const asked = at('folder', '/told/', {
      readonly: true,
      recursiveReadOnly: true,
      propagation: PROPAGATION_PRIVATE,
      selinuxRelabel: true,
    });
    const id = await pods.create(pod, 'true', { mounts: [asked] });
    const [told] = (await pods.status(id)).mounts;
    assert.deepEqual(
      [told?.hostPath, told?.containerPath, told?.readonly, told?.recursiveReadOnly],
      [asked.hostPath, '/told/', true, true],
    );
    await pods.remove(id);
  });

  it('of a missing host path make a folder, which goes again with a failed creation', async () => {
    assert.equal(await output('ls -d /new; ls /new', at('new/deep', '/new')), '/new');
    assert.ok(existsSync(join(host, 'new/deep')));
    writeFileSync(join(host, 'new/stays'), '');
    await refused(
      [at('gone/deep', '/x'), at('new/gone/deep', '/y'), at('file', '/etc')],
      'invalid-argument',
      /cannot mount onto container path "\/etc"/,
    );
    assert.ok(!existsSync(join(host, 'gone')));
    assert.deepEqual(readdirSync(join(host, 'new')).sort(), ['deep', 'stays']);
  });

  it('are refused where a file meets a folder, or the path on the host leads nowhere', async () => {
    await refused(
      [at('file', '/etc')],
      'invalid-argument',
      /"\/etc": illegal operation on a directory/,
    );
    await refused(
      [at('folder', '/etc/passwd')],
      'invalid-argument',
      /"\/etc\/passwd": not a directory/,
    );
    await refused(
      [at('file/below', '/x')],
      'failed-precondition',
      /cannot use mount host_path .*file\/below/,
    );
    symlinkSync('nowhere/at/all', join(host, 'dangling'));
    await refused([at('dangling', '/x')], 'failed-precondition', /mount host_path .*dangling/);
    for (const path of ['relative', '/..', '/a\nb', '/a\0b', '/']) {
      await refused([at('folder', path)], 'invalid-argument', /container_path/);
    }
    await refused([at('folder', '/proc/self')], 'invalid-argument', /"\/proc\/self"/);
  });

  it('follow symlinks of the image inside its root alone', async () => {
    const name = 'example.org/links:1';
    await pods.pullWith(name, [
      symlink('absolute', host),
      symlink('relative', `../../../../..${host}`),
      symlink('loop', 'loop'),
    ]);
    const text = await pods.output(pod, `find ${host} | sort`, {
      image: { image: name },
      mounts: [at('file', '/absolute/one'), at('file', '/relative/two')],
    });
    assert.equal(text, `${host}\n${host}/one\n${host}/two`);
    assert.ok(!existsSync(join(host, 'one')) && !existsSync(join(host, 'two')));
    await assert.rejects(
      pods.create(pod, 'true', { image: { image: name }, mounts: [at('file', '/loop/x')] }),
      { kind: 'invalid-argument', message: /"\/loop\/x"/ },
    );
  });

  describe('propagation', () => {
    const privileged = { linux: { securityContext: { privileged: true } } };

    it('bidirectional brings mounts both ways, and leaves the container’s on the host', async () => {
      const shared = join(host, 'shared');
      mountShared(shared);
      const id = await pods.begin(pod, 'exec sleep 1000', {
        ...privileged,
        mounts: [at('shared', '/m', { propagation: PROPAGATION_BIDIRECTIONAL })],
      });
      await pods.exec(id, 'mkdir /m/inside && mount -t tmpfs none /m/inside && touch /m/inside/x');
      assert.deepEqual(readdirSync(join(shared, 'inside')), ['x']);
      mountShared(join(shared, 'outside'));
      writeFileSync(join(shared, 'outside/y'), '');
      assert.equal(await pods.exec(id, 'ls /m/outside'), 'y');
      await pods.remove(id);
      // As with runc: the mount is one of the host's tree, and a CSI driver's restart must not end it.
      assert.deepEqual(readdirSync(join(shared, 'inside')), ['x']);
      execFileSync('umount', ['-R', shared]);
    });

    it('to the container follows a shared and a slave mount', async () => {
      const shared = join(host, 'source');
      mountShared(shared);
      mkdirSync(join(host, 'slave'));
      execFileSync('mount', ['--bind', shared, join(host, 'slave')]);
      execFileSync('mount', ['--make-slave', join(host, 'slave')]);
      const id = await pods.begin(pod, 'exec sleep 1000', {
        ...privileged,
        mounts: ['source', 'slave'].map((name) =>
          at(name, `/${name}`, { propagation: PROPAGATION_HOST_TO_CONTAINER }),
        ),
      });
      mountShared(join(shared, 'later'));
      writeFileSync(join(shared, 'later/x'), '');
      assert.equal(
        await pods.exec(id, 'ls /source/later /slave/later'),
        '/slave/later:\nx\n\n/source/later:\nx',
      );
      await pods.exec(
        id,
        'mkdir /source/own; mount -t tmpfs none /source/own; touch /source/own/x',
      );
      assert.deepEqual(readdirSync(join(shared, 'own')), []);
      await pods.remove(id);
      execFileSync('umount', ['-R', join(host, 'slave')]);
      execFileSync('umount', ['-R', shared]);
    });

    it('is refused where the source has none', async () => {
      await refused(
        [at('folder', '/m', { propagation: PROPAGATION_BIDIRECTIONAL })],
        'failed-precondition',
        /cannot share mounts with host path .*folder".* not on a shared mount/,
      );
      await refused(
        [at('folder', '/m', { propagation: PROPAGATION_HOST_TO_CONTAINER })],
        'failed-precondition',
        /cannot follow mounts below host path .*folder"/,
      );
      await refused(
        [
          at('folder', '/m', {
            readonly: true,
            recursiveReadOnly: true,
            propagation: PROPAGATION_HOST_TO_CONTAINER,
          }),
        ],
        'invalid-argument',
        /\/m: recursive_read_only needs readonly and private propagation/,
      );
      await refused(
        [at('folder', '/m', { recursiveReadOnly: true })],
        'invalid-argument',
        /recursive_read_only needs readonly/,
      );
    });
  });

  it('read-only leave those below as they are, unless all shall be', async () => {
    const inner = join(host, 'folder/inner');
    execFileSync('mount', ['-t', 'tmpfs', 'none', inner]);
    const tries =
      'touch /m/x 2>&1 | grep -o Read-only; touch /m/inner/x 2>&1 | grep -o Read-only; true';
    assert.equal(await output(tries, at('folder', '/m', { readonly: true })), 'Read-only');
    const all = at('folder', '/m', { readonly: true, recursiveReadOnly: true });
    assert.equal(await output(tries, all), 'Read-only\nRead-only');
    execFileSync('umount', [inner]);
  });
});
