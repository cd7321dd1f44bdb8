/** Pulls as a person sees them: progress, credentials, and an end in the middle. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PullImageRequest } from '../../../src/cri/gen/index.js';
import { TestAgent } from '../../support/agent.js';
import { inNetworkNamespace } from '../../support/network-namespace.js';
import { buildImage, writeLayout } from '../../support/oci-image.js';
import { until } from '../../support/processes.js';
import { file } from '../../support/tar.js';
import { pvecri } from './command.js';

const image = buildImage({
  layers: [0, 1].map((n) => [file(`layer${n}`, randomBytes(300_000))]),
});
const [first, second] = image.blobs.slice(1).map(({ bytes }) => bytes.length);
const id = image.id;

describe('pulls', () => {
  let agent: TestAgent;
  let layout: string;
  let registry: ChildProcess;
  let reference: string;

  beforeEach(async () => {
    agent = new TestAgent('[metrics]\naddress = "127.0.0.1:0"\n');
    layout = join(agent.folder, 'gated');
    writeLayout(layout, { v1: image });
    registry = spawn(
      'nsenter',
      [
        `--net=${agent.netns}`,
        process.execPath,
        '--import',
        'tsx',
        'test/support/gated-registry.ts',
        layout,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const said = createInterface({ input: registry.stdout! });
    const host = await new Promise<string>((resolve) => said.once('line', resolve));
    reference = `${host}/shop/web:1`;
    await agent.start();
  });

  afterEach(async () => {
    registry.kill('SIGKILL');
    assert.deepEqual(await agent.close(), []);
  });

  const open = (): void => {
    writeFileSync(join(layout, 'open'), '');
  };
  const halfway = async (): Promise<void> => {
    const half = Math.floor(first! / 2) + Math.floor(second! / 2);
    await until(async () => {
      const { stdout } = await pvecri(agent, ['pulls', '--json']);
      const pulls = JSON.parse(stdout) as { layers: { downloadedBytes: number }[] }[];
      const layers = pulls[0]?.layers ?? [];
      return layers.reduce((sum, { downloadedBytes }) => sum + downloadedBytes, 0) === half;
    });
  };

  it('are listed, watched, and shown as bars that go away', async () => {
    let shown = '';
    const pulling = pvecri(agent, ['pull', reference], {
      terminal: { rows: 10, columns: 100 },
      onError: (text) => (shown = text),
    });
    await until(() => shown.includes('293KiB/586KiB'));
    const { stdout: table } = await pvecri(agent, ['pulls']);
    assert.match(table, /^IMAGE +LAYERS +FETCHED +OF +RATE +LEFT +AGE\n\S+\/shop\/web:1 +0\/2 /);
    const ended = new AbortController();
    const watching = pvecri(agent, ['pulls', '--watch', '--json'], {
      signal: ended.signal,
      onOutput: (text) => {
        // The pull, and then none any more.
        if (/"unpackedBytes"[^]*\n\[\]\n$/.test(text)) ended.abort();
      },
    });
    open();
    const { code, stdout, stderr } = await pulling;
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `${id}\n`);
    const [bars, rest] = stderr.split(/\r\u001b\[\d+A\u001b\[J(?!.*\u001b\[J)/s);
    assert.match(bars ?? '', /pulling \S+\/shop\/web:1 … \d/);
    assert.match(bars ?? '', /[0-9a-f]{13} {2}\[=+> +\] {2}147KiB\/293KiB +downloading/);
    assert.match(bars ?? '', /0\/2 layers +\[.*\] {2}293KiB\/586KiB .* left/);
    assert.match(rest ?? '', /^pulled \S+: 58\dKiB in [\d.]+ m?s\n$/);
    await until(() => agent.output.includes('image pulled'));
    const line = agent.output.split('\n').find((text) => text.includes('image pulled')) ?? '';
    assert.ok(line.includes(reference) && line.includes(id), line);
    assert.match(line, new RegExp(`\\bbytes=${first! + second!} bytesPerSecond=\\d+`));
    assert.match(line, / layersFetched=2 layersPresent=0 /);
    const url = /metrics=(\S+)/.exec(agent.output)?.[1] ?? '';
    const metrics = inNetworkNamespace(agent.netns, 'wget', '-q', '-O', '-', url);
    assert.match(metrics, new RegExp(`^pvecri_image_pull_bytes_total ${first! + second!}$`, 'm'));
    assert.match(metrics, /^pvecri_image_pulls_total{result="success"} 1$/m);
    assert.equal((await watching).code, 130);
    const seen = (await watching).stdout.trim().split('\n');
    assert.ok(seen.length >= 2 && seen.length < 50, `${seen.length} documents`);
  });

  it('tell a program all there is, and nothing else', async () => {
    open();
    const { code, stdout, stderr } = await pvecri(agent, ['pull', reference, '--json']);
    assert.deepEqual([code, stderr], [0, '']);
    const document = JSON.parse(stdout) as Record<string, unknown>;
    assert.equal(document['id'], id);
    assert.deepEqual(
      document['layers'],
      image.blobs.slice(1).map(({ digest, bytes }) => ({
        digest,
        size: bytes.length,
        downloadedBytes: bytes.length,
        unpackedBytes: bytes.length,
        state: 'done',
      })),
    );
    const again = await pvecri(agent, ['pull', reference, '--quiet']);
    assert.deepEqual([again.code, again.stdout, again.stderr], [0, `${id}\n`, '']);
  });

  it('end with the one who wanted them, and leave nothing', async () => {
    const interrupt = new AbortController();
    const pulling = pvecri(agent, ['pull', reference], { signal: interrupt.signal });
    await halfway();
    interrupt.abort();
    const { code, stdout, stderr } = await pulling;
    assert.deepEqual([code, stdout, stderr], [130, '', 'pvecri: interrupted\n']);
    await until(() => readdirSync(join(agent.root, 'images/tmp')).length === 0);
    await until(() => /pull given up.*layersFetched=0/.test(agent.output));
    assert.equal((await pvecri(agent, ['pulls', '--json'])).stdout, '[]\n');
    assert.equal((await pvecri(agent, ['images', '-q'])).stdout, '');
  });

  it("go on when a kubelet wants the same, whose pulls are seen as one's own", async () => {
    const kubelet = agent.client.image.pullImage(
      PullImageRequest.create({ image: { image: reference } }),
    );
    await halfway();
    const interrupt = new AbortController();
    const pulling = pvecri(agent, ['pull', reference], {
      signal: interrupt.signal,
      terminal: { rows: 10, columns: 100 },
      onError: (text) => {
        if (text.includes('downloading')) interrupt.abort();
      },
    });
    assert.equal((await pulling).code, 130);
    open();
    assert.equal((await kubelet).imageRef, id);
  });

  it('fail with the words of the registry', async () => {
    const absent = reference.replace(/:\d+\/.*/, ':1/shop/web:1');
    const { code, stdout, stderr } = await pvecri(agent, ['pull', absent]);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /^pvecri: .*127\.0\.0\.1:1\/shop\/web:1: .*ECONNREFUSED.*\n$/);
    assert.match(agent.output, /pull failed.*ECONNREFUSED/);
  });
});
