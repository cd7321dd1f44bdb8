/** The agent's own figures in Prometheus' text format. Loaded where they are wanted alone. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { PullReport, PullUnderWay } from '../core/pull-progress.js';
import { isCancelled } from './pull-log.js';

export interface Metrics {
  pullEnded(report: PullReport): void;
  readonly contentType: string;
  text(): Promise<string>;
}

/** Seconds: from an image that is there to one of many gigabytes over a slow line. */
const DURATIONS = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800];

export function createMetrics(pullsUnderWay: () => PullUnderWay[]): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const pulls = new Counter({
    name: 'pvecri_image_pulls_total',
    help: 'Image pulls that have ended, by result.',
    labelNames: ['result'],
    registers,
  });
  // So that a rate can be seen from the first one on.
  for (const result of ['success', 'failure', 'cancelled']) pulls.inc({ result }, 0);
  const layers = new Counter({
    name: 'pvecri_image_pull_layers_total',
    help: 'Layers of pulls that have ended: fetched, or present before.',
    labelNames: ['result'],
    registers,
  });
  for (const result of ['fetched', 'present']) layers.inc({ result }, 0);
  const durations = new Histogram({
    name: 'pvecri_image_pull_duration_seconds',
    help: 'Time that image pulls took, by result.',
    labelNames: ['result'],
    buckets: DURATIONS,
    registers,
  });
  let endedBytes = 0;
  let toldBytes = 0;
  new Counter({
    name: 'pvecri_image_pull_bytes_total',
    help: 'Bytes of layers fetched by image pulls, those under way included.',
    registers,
    collect() {
      const underWay = pullsUnderWay()
        .flatMap((pull) => pull.snapshot().layers)
        .reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0);
      // A blob that is fetched anew from its start must not let the counter go back.
      const bytes = Math.max(toldBytes, endedBytes + underWay);
      this.inc(bytes - toldBytes);
      toldBytes = bytes;
    },
  });
  new Gauge({
    name: 'pvecri_image_pulls_in_progress',
    help: 'Image pulls under way.',
    registers,
    collect() {
      this.set(pullsUnderWay().length);
    },
  });
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    pullEnded: ({ outcome, durationMs, fetchedBytes, layersFetched, layersPresent }) => {
      const result =
        'imageId' in outcome ? 'success' : isCancelled(outcome.error) ? 'cancelled' : 'failure';
      endedBytes += fetchedBytes;
      pulls.inc({ result });
      durations.observe({ result }, durationMs / 1000);
      layers.inc({ result: 'fetched' }, layersFetched);
      layers.inc({ result: 'present' }, layersPresent);
    },
  };
}
