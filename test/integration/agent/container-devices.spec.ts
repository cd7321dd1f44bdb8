/** Devices of a container: nodes in its /dev, and what its device program lets through. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { TestAgent } from '../../support/agent.js';
import { PodClient } from '../../support/pod-client.js';
import { symlink } from '../../support/tar.js';

describe('devices of a container', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;
  /** On the host: fuse (c 10 229), whose open asks for nothing, and an unbound loop (b 7 7). */
  let folder: string;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
    pod = await pods.run('pod', {
      linux: { securityContext: { privileged: true } },
    });
    folder = join(agent.folder, 'nodes');
    mkdirSync(join(folder, 'sub/shm'), { recursive: true });
    execFileSync('mknod', [join(folder, 'fuse'), 'c', '10', '229']);
    chmodSync(join(folder, 'fuse'), 0o642);
    chownSync(join(folder, 'fuse'), 12, 34);
    execFileSync('mknod', [join(folder, 'sub/loop'), 'b', '7', '7']);
    execFileSync('mknod', [join(folder, 'sub/shm/hidden'), 'c', '10', '229']);
    writeFileSync(join(folder, 'file'), '');
    symlinkSync('fuse', join(folder, 'link'));
  });

  after(async () => {
    await pods.removePod(pod);
    assert.deepEqual(await agent.close(), []);
  });

  const device = (name: string, containerPath: string, permissions = 'rwm') => ({
    hostPath: join(folder, name),
    containerPath,
    permissions,
  });
  /** Which of reading, writing and both at once the kernel lets through. */
  const tries = (path: string): string =>
    `for how in "<" ">" "<>"; do (eval "exec 3$how${path}") 2>/dev/null && printf "%s " "$how"; done; true`;
  const run = (script: string, devices: ReturnType<typeof device>[]) =>
    pods.output(pod, script, { devices });

  for (const [permissions, allowed] of [
    ['rwm', '< > <>'],
    ['r', '<'],
    ['w', '>'],
    ['wr', '< > <>'],
    ['m', ''],
  ] as const) {
    it(`with ${permissions} may be opened by ${allowed === '' ? 'nothing' : allowed}`, async () => {
      const text = await run(tries('/dev/mine'), [device('fuse', '/dev/mine', permissions)]);
      assert.equal(text.trim(), allowed);
    });
  }

  it('has the type, number, owner and mode of the host’s, and an inode of its own', async () => {
    const text = await run('stat -c "%F %t:%T %u:%g %a" /dev/mine; chmod 777 /dev/mine', [
      device('fuse', '/dev/mine'),
    ]);
    assert.equal(text, 'character special file a:e5 12:34 642');
    assert.equal(
      execFileSync('stat', ['-c', '%a', join(folder, 'fuse')], { encoding: 'utf8' }),
      '642\n',
    );
  });

  it('is let through by its number alone, and no other is', async () => {
    const text = await run(
      `mknod /tmp/same c 10 229; mknod /tmp/other c 10 230; mknod /tmp/block b 10 229
       ${['same', 'other', 'block'].map((name) => tries(`/tmp/${name}`)).join('; ')}`,
      [device('fuse', '/dev/mine', 'r')],
    );
    assert.equal(text.trim(), '<');
  });

  it('adds up what one device is given under two names', async () => {
    const text = await run(tries('/dev/a'), [
      device('fuse', '/dev/a', 'r'),
      device('fuse', '/dev/b', 'w'),
    ]);
    assert.equal(text.trim(), '< > <>');
  });

  it('can be a block device, and be used by an exec and after the agent’s end', async () => {
    const id = await pods.begin(pod, 'exec sleep 1000', {
      devices: [device('sub/loop', '/dev/disk/mine', 'r')],
    });
    await agent.stop('SIGKILL');
    await agent.start();
    assert.equal((await pods.exec(id, tries('/dev/disk/mine'))).trim(), '<');
    assert.equal(await pods.exec(id, 'stat -c %F /dev/disk/mine'), 'block special file');
    await pods.remove(id);
  });

  it('are all of a folder, without what a container has its own of', async () => {
    const text = await run('cd /dev/all; find . | sort', [device('', '/dev/all')]);
    assert.equal(text, '.\n./fuse\n./sub\n./sub/loop');
  });

  it('may be named by a symlink', async () => {
    assert.equal((await run(tries('/dev/mine'), [device('link', '/dev/mine', 'r')])).trim(), '<');
  });

  it('replaces what the image or liblxc has at its path, but not a folder', async () => {
    const text = await run('stat -c %t:%T /dev/full /etc/passwd', [
      device('fuse', '/dev/full'),
      device('fuse', '/etc/passwd'),
    ]);
    assert.equal(text, 'a:e5\na:e5');
    await assert.rejects(pods.create(pod, 'true', { devices: [device('fuse', '/etc')] }), {
      kind: 'invalid-argument',
      message: /cannot make device "\/etc"/,
    });
  });

  it('stays inside the root, whatever symlinks the image has', async () => {
    const outside = join(agent.folder, 'outside');
    mkdirSync(outside);
    const name = 'example.org/hostile:1';
    await pods.pullWith(name, [
      symlink('absolute', outside),
      symlink('relative', `../../../../../..${outside}`),
      symlink('node', join(outside, 'node')),
    ]);
    const text = await pods.output(
      pod,
      `cd ${outside}; stat -c "%n %t:%T" *; stat -c "%n %F" /node`,
      {
        image: { image: name },
        devices: [
          device('fuse', '/absolute/a'),
          device('fuse', '/relative/deeper/b'),
          device('fuse', '/node'),
        ],
      },
    );
    assert.match(text, /^a a:e5\ndeeper .*\n\/node character special file$/);
    assert.deepEqual(readdirSync(outside), []);
    for (const path of ['/proc/self/root/tmp/x', '/dev/fd/3/x']) {
      await assert.rejects(pods.create(pod, 'true', { devices: [device('fuse', path)] }), {
        kind: 'invalid-argument',
        message: /cannot make device/,
      });
    }
    for (const path of ['/dev/../../x', '/..']) {
      await assert.rejects(pods.create(pod, 'true', { devices: [device('fuse', path)] }), {
        kind: 'invalid-argument',
        message: /container_path .*"\.\."/,
      });
    }
  });

  it('is refused where a mount covers it', async () => {
    const mounts = [{ hostPath: folder, containerPath: '/dev/all' }];
    await assert.rejects(
      pods.create(pod, 'true', { devices: [device('fuse', '/dev/all/x')], mounts }),
      { kind: 'invalid-argument', message: /device "\/dev\/all\/x" is covered by a mount/ },
    );
    assert.ok(!existsSync(join(folder, 'x')));
  });

  it('is refused when it is missing or no device, and nothing is left', async () => {
    for (const [name, kind, message] of [
      ['nope', 'not-found', /cannot use device host_path .*nope/],
      ['file', 'invalid-argument', /file is not a device: name a/],
      ['file/below', 'not-found', /cannot use device host_path/],
    ] as const) {
      await assert.rejects(pods.create(pod, 'true', { devices: [device(name, '/dev/x')] }), {
        kind,
        message,
      });
    }
    await assert.rejects(pods.create(pod, 'true', { devices: [device('fuse', '/dev/x', 'rx')] }), {
      kind: 'invalid-argument',
      message: /permissions "rx"/,
    });
    const { containers } = await agent.client.runtime.listContainers({ filter: undefined });
    assert.deepEqual(containers, []);
  });

  describe('of a privileged container', () => {
    const privileged = { linux: { securityContext: { privileged: true } } };

    it('are all of the host, and its own terminal', async () => {
      const id = await pods.begin(pod, 'exec sleep 1000', privileged);
      const seen = new Set((await pods.exec(id, 'ls /dev')).split('\n'));
      const missing = execFileSync(
        'find',
        ['/dev', '-maxdepth', '1', '(', '-type', 'c', '-o', '-type', 'b', ')', '-printf', '%f\n'],
        {
          encoding: 'utf8',
        },
      )
        .trim()
        .split('\n')
        .filter((name) => name !== 'console' && !seen.has(name));
      assert.deepEqual(missing, []);
      assert.equal(
        await pods.exec(id, 'stat -c %d /dev/ptmx'),
        await pods.exec(id, 'stat -c %d /dev/pts/ptmx'),
      );
      assert.equal((await pods.exec(id, tries('/dev/fuse'))).trim(), '< > <>');
      await pods.remove(id);
    });

    it('is refused in a pod that is not', async () => {
      const plain = await pods.run('plain');
      await assert.rejects(pods.create(plain, 'true', privileged), {
        kind: 'invalid-argument',
        message: /is privileged, but pod sandbox .* is not/,
      });
      await pods.removePod(plain);
    });
  });
});
