/** Damage to the image store, looked for by the command: what a real agent says of it and makes of it. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { connectAdmin, type AdminClient } from '../../../src/admin/client.js';
import { TestAgent } from '../../support/agent.js';
import { layerFiles } from '../../support/images.js';
import { buildImage, writeLayout, type BuiltImage } from '../../support/oci-image.js';
import { until } from '../../support/processes.js';
import { file } from '../../support/tar.js';
import { pvecri, type Run, type RunOptions } from './command.js';

interface Checked {
  depth: string;
  images: number;
  blobs: number;
  layers: number;
  findings: { what: string; outcome: string; reason: string; images: { names: string[] }[] }[];
  unused: { path: string; reason: string }[];
}

const shared = [file('shared', 'shared')];
const web = buildImage({ layers: [shared, [file('web', 'web')]] });
const shop = buildImage({ layers: [shared, [file('shop', 'shop')]] });
/** Whose content takes a while to hash and unpack. */
const large = buildImage({
  layers: [1, 2, 3].map((n) => [file(`large-${n}`, Buffer.alloc(16 << 20, n))]),
});

describe('damage to images by the command', () => {
  let agent: TestAgent;
  let admin: AdminClient;

  const run = (args: string[], options?: RunOptions): Promise<Run> => pvecri(agent, args, options);
  const ok = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(args);
    assert.equal(code, 0, stderr + stdout);
    return stdout;
  };
  const check = async (code: number, ...args: string[]): Promise<Checked> => {
    const result = await run(['check', '--json', ...args]);
    assert.equal(result.code, code, result.stderr + result.stdout);
    return JSON.parse(result.stdout) as Checked;
  };
  const outcomes = ({ findings }: Checked): string[] =>
    findings.map(({ what, outcome }) => `${what} ${outcome}`);
  const pull = (image: BuiltImage, name: string): Promise<string> => {
    const layout = join(agent.folder, name);
    if (!existsSync(layout)) writeLayout(layout, { [`example.org/${name}:1`]: image });
    return ok('pull', `oci:${layout}`);
  };
  const images = (): string => join(agent.root, 'images');
  const inLayer = (image: BuiltImage, at: number, name: string): string =>
    join(layerFiles(images(), image.diffIds[at] ?? ''), name);
  const blobPath = (digest: string): string => join(images(), 'blobs/sha256', digest.slice(7));
  const flip = (path: string): void => {
    const bytes = readFileSync(path);
    bytes[5] = (bytes[5] ?? 0) ^ 1;
    writeFileSync(path, bytes);
  };
  /** What is damaged before it is measured, only its content tells. */
  const measured = (image: BuiltImage): Promise<void> =>
    until(() =>
      image.diffIds.every((_id, at) =>
        readFileSync(inLayer(image, at, '../layer.json'), 'utf8').includes('fingerprint'),
      ),
    );

  before(async () => {
    agent = new TestAgent('', 'info', '/dev/shm');
    await agent.start();
    admin = connectAdmin(join(agent.state, 'admin.sock'));
  });
  after(async () => {
    admin.close();
    assert.deepEqual(await agent.close(), []);
  });
  beforeEach(async () => {
    await pull(web, 'web');
    await pull(shop, 'shop');
    await measured(web);
    await measured(shop);
  });
  afterEach(async () => {
    await ok('prune', '--all', '--yes');
  });

  it('says that all is well', async () => {
    assert.equal(await ok('check'), 'checked 2 images, 3 layers, 7 blobs: no damage\n');
    assert.deepEqual(await check(0, '--content', 'example.org/web:1'), {
      depth: 'content',
      images: 1,
      blobs: 4,
      layers: 2,
      findings: [],
      unused: [],
    });
  });

  it('mends a layer from its blob, and says for which images', async () => {
    truncateSync(inLayer(web, 0, 'shared'));
    const stdout = await ok('check');
    assert.match(
      stdout,
      /^mended: image example\.org\/web:1: layer sha256:\S+ is damaged: its files are not/m,
    );
    assert.match(stdout, /^mended: image example\.org\/shop:1: /m);
    assert.match(stdout, /^checked 2 images, 3 layers, 7 blobs: damage found: 2$/m);
    assert.equal(readFileSync(inLayer(web, 0, 'shared'), 'utf8'), 'shared');
    assert.deepEqual(outcomes(await check(0)), []);
  });

  it('compares content when asked to, of the images that are named', async () => {
    const path = inLayer(web, 1, 'web');
    const { atime, mtime } = statSync(path);
    writeFileSync(path, 'WEB');
    utimesSync(path, atime, mtime);
    assert.deepEqual(outcomes(await check(0)), []);
    assert.deepEqual(outcomes(await check(0, '--content', 'example.org/shop:1')), []);
    assert.deepEqual(outcomes(await check(0, '--content', web.id.slice(7, 19))), ['image mended']);
    assert.equal(readFileSync(path, 'utf8'), 'web');
  });

  it('ends with 1 for what it cannot mend, until a pull has', async () => {
    flip(blobPath(web.blobs[2]?.digest ?? ''));
    const incomplete = await check(1);
    assert.deepEqual(outcomes(incomplete), ['blob incomplete']);
    assert.deepEqual(incomplete.findings[0]?.images[0]?.names, ['example.org/web:1']);
    flip(blobPath(web.id));
    const { code, stdout } = await run(['check']);
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^quarantined: blob sha256:\w+ of example\.org\/web:1: its content has digest/m,
    );
    assert.match(stdout, /^not used: \/\S+\/quarantine\/\w{64}\.json: blob \S+ is damaged/m);
    const later = await check(1);
    assert.deepEqual([outcomes(later), later.images, later.unused.length], [[], 1, 1]);
    assert.equal((await run(['check', 'example.org/web:1'])).code, 3);
    await pull(web, 'web');
    assert.deepEqual((await check(0, '--content')).images, 2);
  });

  it('refuses what it does not know', async () => {
    const unknown = await run(['check', '--json', 'example.org/web:1', 'example.org/none:1']);
    assert.equal(unknown.code, 3);
    assert.match(unknown.stdout, /there is no image \\"example\.org\/none:1\\"/);
    assert.equal((await run(['check', '--depth', 'all'])).code, 2);
    const ask = async (references: string[], depth: number): Promise<unknown[]> => {
      const events: unknown[] = [];
      for await (const event of admin.images.checkImages({ references, depth: depth as 0 }))
        events.push(event);
      return events;
    };
    await assert.rejects(ask([], 7), { kind: 'invalid-argument', message: /depth 7 is unknown/ });
    await assert.rejects(ask([''], 0), { kind: 'invalid-argument', message: /name an image/ });
    assert.equal((await ask([], 0)).length, 1);
  });

  it('goes on beside pulls, removals and another check', async () => {
    await pull(large, 'large');
    const checks = [check(0, '--content'), check(0, '--content')];
    await ok('rmi', 'example.org/shop:1');
    await pull(shop, 'shop');
    await pull(web, 'web');
    for (const each of await Promise.all(checks)) assert.deepEqual(each.findings, []);
    assert.deepEqual((await check(0, '--content')).findings, []);
  });

  it('looks at nothing more for a caller that goes away, who leaves no trace', async () => {
    await pull(large, 'large');
    const tmp = join(images(), 'layers/.tmp');
    const gone = new AbortController();
    const began = run(['check', '--content'], { signal: gone.signal });
    // It unpacks a layer to compare it.
    mkdirSync(tmp, { recursive: true });
    await until(() => statSync(tmp).nlink > 2);
    gone.abort();
    assert.equal((await began).code, 130);
    await until(() => statSync(tmp).nlink === 2);
    assert.deepEqual((await check(0)).findings, []);
  });
});
