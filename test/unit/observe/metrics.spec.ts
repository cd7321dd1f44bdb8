/** Figures of pulls for Prometheus, and the server that gives them. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { RuntimeError } from '../../../src/core/errors.js';
import type { ImageId } from '../../../src/core/ids.js';
import type { PullReport, PullUnderWay } from '../../../src/core/pull-progress.js';
import { createMetrics } from '../../../src/observe/metrics.js';
import { listenMetrics, type MetricsServer } from '../../../src/observe/metrics-server.js';

const REPORT: PullReport = {
  reference: 'web',
  durationMs: 1500,
  fetchedBytes: 100,
  layersFetched: 2,
  layersPresent: 1,
  outcome: { imageId: 'sha256:aa' as ImageId },
};

function underWay(fetchedBytes: number): PullUnderWay {
  const counts = { size: 1000, downloadedBytes: 900, unpackedBytes: 0 };
  const layer = { digest: '', ...counts, state: 'downloading' as const };
  return {
    version: 0,
    snapshot: () => ({ reference: '', startedAt: 0n, layers: [{ ...layer, fetchedBytes }] }),
  };
}

/** The lines that are no comment, but for those of other buckets. */
function figures(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .filter((line) => !line.includes('_bucket{') || line.includes('le="2"'));
}

describe('metrics of pulls', () => {
  it('begin at zero, every series there', async () => {
    assert.deepEqual(figures(await createMetrics(() => []).text()), [
      'pvecri_image_pulls_total{result="success"} 0',
      'pvecri_image_pulls_total{result="failure"} 0',
      'pvecri_image_pulls_total{result="cancelled"} 0',
      'pvecri_image_pull_layers_total{result="fetched"} 0',
      'pvecri_image_pull_layers_total{result="present"} 0',
      'pvecri_image_pull_bytes_total 0',
      'pvecri_image_pulls_in_progress 0',
    ]);
  });

  it('count what ended by its result', async () => {
    const metrics = createMetrics(() => []);
    metrics.pullEnded(REPORT);
    metrics.pullEnded({ ...REPORT, outcome: { error: new RuntimeError('not-found', 'x') } });
    metrics.pullEnded({ ...REPORT, outcome: { error: new RuntimeError('cancelled', 'x') } });
    const text = await metrics.text();
    for (const line of [
      'pvecri_image_pulls_total{result="success"} 1',
      'pvecri_image_pulls_total{result="failure"} 1',
      'pvecri_image_pulls_total{result="cancelled"} 1',
      'pvecri_image_pull_layers_total{result="fetched"} 6',
      'pvecri_image_pull_layers_total{result="present"} 3',
      'pvecri_image_pull_duration_seconds_bucket{le="2",result="success"} 1',
      'pvecri_image_pull_duration_seconds_sum{result="success"} 1.5',
      'pvecri_image_pull_bytes_total 300',
    ])
      assert.ok(figures(text).includes(line), `${line}\n${text}`);
  });

  it('count bytes while they come, and never less than before', async () => {
    let pulls = [underWay(70)];
    const metrics = createMetrics(() => pulls);
    const bytes = async (): Promise<number> =>
      Number(/^pvecri_image_pull_bytes_total (\d+)$/m.exec(await metrics.text())?.[1]);
    assert.equal(await bytes(), 70);
    assert.match(await metrics.text(), /^pvecri_image_pulls_in_progress 1$/m);
    pulls = [underWay(20)];
    assert.equal(await bytes(), 70);
    pulls = [underWay(90)];
    assert.equal(await bytes(), 90);
    pulls = [];
    metrics.pullEnded(REPORT);
    assert.equal(await bytes(), 100);
  });

  describe('are served', () => {
    let server: MetricsServer;
    beforeEach(async () => {
      server = await listenMetrics(
        '127.0.0.1:0',
        createMetrics(() => []),
      );
    });
    afterEach(() => server.close());

    it('as text of Prometheus, at /metrics alone and to GET alone', async () => {
      const answer = await fetch(server.url);
      assert.equal(answer.status, 200);
      assert.match(answer.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
      assert.match(await answer.text(), /^# HELP pvecri_image_pulls_total /m);
      assert.equal((await fetch(`${server.url}?x=1`)).status, 200);
      assert.equal((await fetch(server.url.replace('/metrics', '/'))).status, 404);
      assert.equal((await fetch(server.url, { method: 'POST', body: 'x' })).status, 405);
    });

    it('and headers without end are cut off', async () => {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
      socket.write(`GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: ${'a'.repeat(20_000)}\r\n\r\n`);
      let answer = '';
      for await (const chunk of socket) answer += String(chunk);
      assert.match(answer, /^HTTP\/1\.1 431 /);
    });

    it('and an address that is taken is an error that names the key', async () => {
      const taken = new URL(server.url).host;
      await assert.rejects(
        listenMetrics(
          taken,
          createMetrics(() => []),
        ),
        /cannot listen on metrics\.address "127\.0\.0\.1:\d+": .*EADDRINUSE/,
      );
    });
  });
});
