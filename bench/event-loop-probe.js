// Preloaded into an agent: notes how long its event loop is blocked at a time; SIGUSR2 writes it down.
import { Buffer } from 'node:buffer';
import { openSync, readSync, renameSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { setInterval } from 'node:timers';

const report = process.env['EVENT_LOOP_REPORT'] ?? '';
const PERIOD_MS = 1;
// Below this nothing is looked at more closely, which would itself take time.
const WORTH_MS = 3;
// Nanoseconds on a processor, nanoseconds of waiting for one, number of turns (sched-stats.rst).
const schedstat = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
const buffer = Buffer.alloc(128);

/** Milliseconds in which the thread could have run and no processor was free. */
function waited() {
  const length = readSync(schedstat, buffer, 0, buffer.length, 0);
  return Number(buffer.toString('latin1', 0, length).split(' ')[1]) / 1e6;
}

let last = performance.now();
let waitedBefore = waited();
let longest = { ms: 0, wall: 0 };

const timer = setInterval(() => {
  const now = performance.now();
  const wall = now - last - PERIOD_MS;
  if (wall > WORTH_MS) {
    const waitedNow = waited();
    const ms = wall - (waitedNow - waitedBefore);
    if (ms > longest.ms) longest = { ms, wall };
  }
  waitedBefore = waited();
  last = performance.now();
}, PERIOD_MS);
timer.unref();

process.on('SIGUSR2', () => {
  writeFileSync(`${report}.new`, JSON.stringify(longest));
  renameSync(`${report}.new`, report);
  longest = { ms: 0, wall: 0 };
});
