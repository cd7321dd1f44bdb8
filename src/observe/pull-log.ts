/** One line in the log for each pull that has ended. */
import { RuntimeError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { PullReport } from '../core/pull-progress.js';

export function logPull(log: Logger, report: PullReport): void {
  const { reference, durationMs, fetchedBytes, layersFetched, layersPresent, outcome } = report;
  const fields = {
    reference,
    ms: Math.round(durationMs),
    bytes: fetchedBytes,
    bytesPerSecond: durationMs > 0 ? Math.round((fetchedBytes * 1000) / durationMs) : 0,
    layersFetched,
    layersPresent,
  };
  if ('imageId' in outcome) log.info({ ...fields, id: outcome.imageId }, 'image pulled');
  else if (isCancelled(outcome.error)) log.info(fields, 'pull given up: nobody wants it any more');
  else log.warn({ ...fields, err: outcome.error }, 'pull failed');
}

export function isCancelled(error: unknown): boolean {
  return (
    (error instanceof RuntimeError && error.kind === 'cancelled') ||
    (error instanceof Error && error.name === 'AbortError')
  );
}
