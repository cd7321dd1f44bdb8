/** Images by the command: listed, named, saved, loaded, pushed, removed, against a real agent and registry. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { stringify } from 'yaml';
import { TestAgent } from '../../support/agent.js';
import { startDockerRegistry, type DockerRegistry } from '../../support/docker-registry.js';
import { inNetworkNamespace } from '../../support/network-namespace.js';
import { buildImage, writeLayout } from '../../support/oci-image.js';
import { until } from '../../support/processes.js';
import { file } from '../../support/tar.js';
import { pvecri, type Run, type RunOptions } from './command.js';

const small = buildImage({
  layers: [[file('etc/small', 'small\n')]],
  config: { Labels: { team: 'shop' } },
  document: {
    created: '2024-05-06T07:08:09.123456789Z',
    history: [{ created_by: 'RUN make' }],
  },
});
const BUSYBOX = 'example.org/busybox:1';

describe('images by the command', () => {
  let agent: TestAgent;
  let registry: DockerRegistry;
  let busybox: string;

  const run = (args: string[], options?: RunOptions): Promise<Run> => pvecri(agent, args, options);
  const ok = async (args: string[], options?: RunOptions): Promise<Run> => {
    const result = await run(args, options);
    assert.equal(result.code, 0, result.stderr);
    return result;
  };
  const json = async (...args: string[]): Promise<unknown> =>
    JSON.parse((await ok([...args, '--json'])).stdout) as unknown;
  const names = async (...args: string[]): Promise<string[]> =>
    ((await json('images', ...args)) as { repoTags: string[] }[]).flatMap((one) => one.repoTags);
  const inTmp = (): string[] => readdirSync(join(agent.root, 'images/tmp'));
  const pullSmall = async (): Promise<void> => {
    const layout = join(agent.folder, 'small');
    writeLayout(layout, { 'example.org/small:1': small });
    await ok(['pull', `oci:${layout}`]);
  };

  before(async () => {
    agent = new TestAgent();
    const folder = join(agent.folder, 'registry');
    mkdirSync(folder);
    registry = await startDockerRegistry(folder, '', ['nsenter', `--net=${agent.netns}`]);
    await agent.start();
  });

  after(async () => {
    await registry.stop();
    assert.deepEqual(await agent.close(), []);
  });

  beforeEach(async () => {
    busybox = (await ok(['pull', agent.busyboxReference()])).stdout.trim();
  });

  afterEach(async () => {
    // After a caller that went away the agent cleans up when it has noticed.
    await until(() => inTmp().length === 0);
    await ok(['prune', '--all', '--yes']);
    assert.deepEqual(await json('images'), []);
  });

  /** Runs a pod of the image to its end. */
  const works = async (): Promise<void> => {
    const manifest = stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'job' },
      spec: {
        hostNetwork: true,
        restartPolicy: 'Never',
        containers: [
          { name: 'a', image: BUSYBOX, imagePullPolicy: 'Never', command: ['sh', '-c', 'exit 7'] },
        ],
      },
    });
    const args = ['run', '--wait', '--rm', '--log-dir', agent.logs, '-'];
    const { code, stderr } = await run(args, { stdin: manifest });
    assert.equal(code, 7, stderr);
  };

  for (const format of ['oci-archive', 'docker-archive']) {
    it(`${format}: saved to a file, removed, loaded, and it runs`, async () => {
      const path = join(agent.folder, `${format}.tar`);
      const saved = await ok(['save', '--format', format, BUSYBOX, '-o', path]);
      assert.equal(saved.stdout, '');
      assert.match(saved.stderr, /^saved example\.org\/busybox:1: \d\S+iB in \//);
      await ok(['rmi', BUSYBOX]);
      const loaded = await ok(['load', '-i', path]);
      assert.equal(loaded.stdout, `${busybox}\n`);
      assert.equal(loaded.stderr, `loaded ${BUSYBOX}\n`);
      await works();
    });
  }

  it('several through pipes, compressed on the way', async () => {
    await pullSmall();
    const { bytes, stderr } = await ok(['save', BUSYBOX, small.id]);
    assert.equal(stderr, '');
    await ok(['rmi', BUSYBOX, small.id]);
    const loaded = JSON.parse(
      (await ok(['load', '--json'], { stdin: gzipSync(bytes) })).stdout,
    ) as unknown;
    assert.deepEqual(loaded, [
      { id: busybox, names: [BUSYBOX] },
      { id: small.id, names: ['example.org/small:1'] },
    ]);
  });

  it('pushed to a registry, from where skopeo copies the same', async () => {
    const destination = `${registry.host}/shop/busybox:1`;
    const terminal = { rows: 10, columns: 100 };
    const pushed = await ok(['push', BUSYBOX, destination], { terminal });
    const digest = pushed.stdout.trim();
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    assert.match(pushed.stderr, /pushed 127\.0\.0\.1:\d+\/shop\/busybox:1: \d\S+iB in /);
    const copy = join(agent.folder, 'copy');
    inNetworkNamespace(
      agent.netns,
      ...['skopeo', 'copy', '-q', '--insecure-policy', '--src-tls-verify=false'],
      ...[`docker://${destination}`, `oci:${copy}:x`],
    );
    const index = JSON.parse(readFileSync(join(copy, 'index.json'), 'utf8')) as {
      manifests: { digest: string }[];
    };
    assert.equal(index.manifests[0]?.digest, digest);
    const [image] = (await json('images', BUSYBOX)) as { repoDigests: string[] }[];
    assert.deepEqual(image?.repoDigests, [`example.org/busybox@${digest}`]);
    // And once more: nothing is left to send.
    const again = (await json('push', BUSYBOX, destination)) as Record<string, unknown>;
    assert.deepEqual([again['digest'], again['sentBytes']], [digest, 0]);
    await ok(['rmi', BUSYBOX]);
    assert.equal((await ok(['pull', '-q', destination])).stdout.trim(), busybox);
  });

  it('with a second name, which another image takes away', async () => {
    await pullSmall();
    assert.equal((await ok(['tag', BUSYBOX, 'box'])).stdout.trim(), busybox);
    const tags = async (): Promise<string[]> => (await names(busybox)).sort();
    assert.deepEqual(await tags(), ['docker.io/library/box:latest', BUSYBOX]);
    await ok(['tag', small.id, 'docker.io/library/box']);
    assert.deepEqual(await tags(), [BUSYBOX]);
  });

  it('named by the start of an id, if that is enough', async () => {
    // Two images whose ids begin with the same two digits.
    const made = new Map<string, string>();
    let twins: [string, string] | undefined;
    for (let n = 0; twins === undefined; n += 1) {
      const name = `example.org/n:${n}`;
      const image = buildImage({
        layers: [[file('etc/n', '')]],
        config: { Labels: { n: `${n}` } },
      });
      const start = image.id.slice(7, 9);
      const layout = join(agent.folder, `n${n}`);
      writeLayout(layout, { [name]: image });
      const before = made.get(start);
      if (before !== undefined) twins = [before, layout];
      made.set(start, layout);
    }
    const ids: string[] = [];
    for (const layout of twins) ids.push((await ok(['pull', `oci:${layout}`])).stdout.trim());
    const [first = '', second = ''] = ids;
    const common = first.slice(7, 9);
    for (const command of [['rmi'], ['inspect'], ['images'], ['save', '-o', '/no'], ['push']]) {
      const { code, stderr } = await run([...command, common]);
      assert.equal(code, 2, stderr);
      assert.match(
        stderr,
        new RegExp(`"${common}" stands for [23] images: example.org/\\w+:\\d+ \\(`),
      );
    }
    let length = 9;
    while (first.slice(0, length) === second.slice(0, length)) length += 1;
    const start = first.slice(7, length);
    assert.equal((await ok(['images', '-q', start])).stdout.trim(), first);
    assert.equal((await ok(['tag', start, 'started'])).stdout.trim(), first);
    const saved = (await ok(['save', start, '-o', '-'])).bytes;
    assert.equal((await ok(['rmi', start])).stdout.trim(), first);
    assert.equal((await ok(['load', '-q', '-i', '-'], { stdin: saved })).stdout.trim(), first);
    const several = await run(['rmi', 'nobody', first, second]);
    assert.deepEqual([several.code, several.stdout], [3, `${first}\n${second}\n`]);
    assert.match(several.stderr, /^pvecri: no image "nobody"; see pvecri images\n$/);
  });

  it('listed with age and size, and chosen by filters', async () => {
    await pullSmall();
    const { stdout } = await ok(['images']);
    assert.match(stdout, /^IMAGE +IMAGE ID +CREATED +SIZE\n/);
    assert.match(stdout, /^example\.org\/busybox:1 +[0-9a-f]{13} +- +\d\S+iB$/m);
    assert.match(stdout, /^example\.org\/small:1 +[0-9a-f]{13} +\d+[yd]\S* ago +\d+B$/m);
    const [document] = (await json('images', 'example.org/small:1')) as Record<string, unknown>[];
    assert.equal(document?.['createdAt'], '2024-05-06T07:08:09.123000000Z');
    assert.deepEqual(document['labels'], { team: 'shop' });
    const filtered = async (...filters: string[]): Promise<string[]> =>
      names(...filters.flatMap((filter) => ['--filter', filter]));
    assert.deepEqual(await filtered('reference=example.org/*'), [BUSYBOX, 'example.org/small:1']);
    assert.deepEqual(await filtered('reference=*/small:?'), ['example.org/small:1']);
    assert.deepEqual(await filtered('label=team=shop'), ['example.org/small:1']);
    assert.deepEqual(await filtered('label=team', 'reference=*/busybox'), []);
    assert.deepEqual(await filtered('since=example.org/busybox'), ['example.org/small:1']);
    assert.deepEqual(await filtered('dangling=true'), []);
    assert.deepEqual(await names('--sort', 'size'), [BUSYBOX, 'example.org/small:1']);
    for (const wrong of ['size=1', 'dangling=yes', 'since=nobody'])
      assert.equal((await run(['images', '--filter', wrong])).code, 2);
  });

  it('inspected: config, layers with sizes, history', async () => {
    await pullSmall();
    const document = (await json('inspect', 'example.org/small:1')) as {
      kind: string;
      info: { info: Record<string, unknown> };
    };
    const info = document.info.info;
    assert.equal(document.kind, 'image');
    assert.equal(info['manifestDigest'], small.manifest.digest);
    const [layer] = info['layers'] as Record<string, unknown>[];
    assert.deepEqual(
      [layer?.['digest'], layer?.['size'], layer?.['diffId']],
      [small.blobs[1]?.digest, small.blobs[1]?.bytes.length, small.diffIds[0]],
    );
    const spec = info['imageSpec'] as Record<string, unknown>;
    assert.deepEqual(spec['history'], [{ created_by: 'RUN make' }]);
  });

  it('pruned: asked about, and not without an answer', async () => {
    await pullSmall();
    assert.match((await run(['prune', '--all'])).stderr, /asks on a terminal alone: say --yes/);
    assert.equal((await run(['prune', '--all'])).code, 2);
    const none = await ok(['prune', '--dry-run']);
    assert.deepEqual([none.stdout, none.stderr], ['', 'there is nothing to remove\n']);
    const refused = await run(['prune', '--all'], { asks: true, stdin: 'n\n' });
    assert.equal(refused.code, 1);
    assert.match(refused.stdout, /^IMAGE +IMAGE ID +SIZE\nexample\.org\/\S+ /);
    assert.match(
      refused.stderr,
      /^Remove these 2 images\? \[y\/N\] pvecri: nothing was removed\n$/,
    );
    assert.deepEqual((await names()).length, 2);
    await ok(['tag', BUSYBOX, 'example.org/small:1']);
    const pruned = await ok(['prune'], { asks: true, stdin: 'y\n' });
    assert.ok(pruned.stdout.endsWith(`${small.id}\n`), pruned.stdout);
    assert.match(pruned.stderr, /removed 1, freed \d\S+B\n$/);
    const young = (await json('prune', '--all', '--yes', '--older-than', '1h')) as object;
    assert.deepEqual(young, { removed: [], failed: [], freedBytes: 0 });
    assert.deepEqual(await names('-f', 'dangling=false'), [BUSYBOX, 'example.org/small:1']);
  });

  describe('what goes wrong', () => {
    const cases: [string, string[], number, RegExp][] = [
      [
        'an unknown image to save',
        ['save', 'nobody', '-o', 'OUT'],
        3,
        /there is no image "nobody"/,
      ],
      [
        'an unknown image to push',
        ['push', 'nobody:1', 'HOST/x:1'],
        3,
        /there is no image "nobody/,
      ],
      ['an unknown image to tag', ['tag', 'nobody', 'x'], 3, /there is no image "nobody"/],
      ['a name that DNS has not', ['pull', 'a.invalid/x:1'], 1, /a\.invalid cannot be reached/],
      ['a scheme', ['pull', 'docker://busybox'], 1, /has a scheme: leave docker:\/\/ out$/m],
      ['a name that is none', ['tag', BUSYBOX, 'A B'], 1, /image reference "A B" is malformed/],
      ['a registry that is not there', ['push', BUSYBOX, '127.0.0.1:1/x:1'], 1, /ECONNREFUSED/],
      ['a folder that is not there', ['save', BUSYBOX, '-o', '/no/such/x.tar'], 1, /ENOENT/],
      ['an archive that is not there', ['load', '-i', '/no/such.tar'], 2, /cannot read \/no\/such/],
      ['an archive that is none', ['load', '-i', '/bin/busybox'], 1, /no sound tar archive/],
      ['another format', ['save', BUSYBOX, '--format', 'zip'], 2, /Allowed choices/],
      ['JSON beside the archive', ['save', BUSYBOX, '--json'], 2, /--json needs -o FILE/],
    ];
    for (const [what, args, code, message] of cases) {
      it(what, async () => {
        const out = join(agent.folder, 'out.tar');
        const result = await run(
          args.map((arg) => (arg === 'OUT' ? out : arg.replace('HOST', registry.host))),
        );
        assert.equal(result.code, code, result.stderr);
        assert.match(result.stderr, message);
        assert.match(result.stderr, /^pvecri: [^\n]*\n$/);
        assert.deepEqual(
          readdirSync(agent.folder).filter((name) => name.includes('out.tar')),
          [],
        );
      });
    }

    it('no room for the archive', async () => {
      const { code, stderr } = await run(['save', BUSYBOX, '-o', '/dev/full']);
      assert.equal(code, 1);
      assert.match(stderr, /^pvecri: cannot write \/dev\/full: .*ENOSPC/);
    });

    it('an archive on a terminal', async () => {
      const { code, stdout, stderr } = await run(['save', BUSYBOX], { rows: 24 });
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, /nothing for a terminal: use -o FILE/);
    });

    it('Ctrl-C in the middle of a load leaves nothing', async () => {
      const { bytes } = await ok(['save', BUSYBOX]);
      await ok(['rmi', BUSYBOX]);
      const interrupt = new AbortController();
      const stdin = new PassThrough();
      const loading = run(['load'], { stdin, signal: interrupt.signal });
      stdin.write(bytes.subarray(0, bytes.length / 2));
      await until(() => inTmp().length > 0);
      interrupt.abort();
      assert.deepEqual([(await loading).code, (await loading).stdout], [130, '']);
      await until(() => inTmp().length === 0);
      assert.deepEqual(await json('images'), []);
    });

    it('an archive that breaks off', async () => {
      const { bytes } = await ok(['save', BUSYBOX]);
      await ok(['rmi', BUSYBOX]);
      const stdin = bytes.subarray(0, bytes.length / 2);
      const { code, stderr } = await run(['load'], { stdin });
      assert.equal(code, 1);
      assert.match(stderr, /^pvecri: the archive is no sound tar archive/);
    });

    it('Ctrl-C in the middle of a save leaves no file', async () => {
      const out = join(agent.folder, 'cut.tar');
      writeFileSync(out, 'before');
      const interrupt = new AbortController();
      interrupt.abort();
      const { code } = await run(['save', BUSYBOX, '-o', out], { signal: interrupt.signal });
      assert.equal(code, 130);
      assert.equal(readFileSync(out, 'utf8'), 'before');
      assert.ok(!readdirSync(agent.folder).some((name) => name.endsWith('.part')));
      assert.ok(existsSync(out));
    });
  });
});
