// Preloaded into an agent: samples the lag of its event loop, and profiles it where LOAD_PROFILE names a file.
import { renameSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import process from 'node:process';

const report = process.env['LOAD_REPORT'] ?? '';
const profile = process.env['LOAD_PROFILE'] ?? '';
// Often enough for a 99th percentile, seldom enough to cost nothing: its timer is the agent's own load.
const PERIOD_MS = 10;

const delay = monitorEventLoopDelay({ resolution: PERIOD_MS });
delay.enable();

const session = new Session();
if (profile !== '') {
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.start');
}

/** @type {(file: string, content: string) => void} */
function write(file, content) {
  writeFileSync(`${file}.new`, content);
  renameSync(`${file}.new`, file);
}

// Each signal ends a span: the figures of what was since the last one.
process.on('SIGUSR2', () => {
  /** @type {(nanoseconds: number) => number} */
  const lag = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - PERIOD_MS);
  const figures = { p99: lag(delay.percentile(99)), longest: lag(delay.max) };
  delay.reset();
  write(report, JSON.stringify(figures));
  if (profile === '') return;
  session.post('Profiler.stop', (error, result) => {
    if (error === null) write(profile, JSON.stringify(result.profile));
    session.post('Profiler.start');
  });
});
