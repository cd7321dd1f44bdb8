/** Log files: their tail, what is added, and rotation, with real files. */
import assert from 'node:assert/strict';
import { appendFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { readLog, tailOffset } from '../../../src/cli/log-file.js';
import { withTempFolder } from '../../support/temp.js';

const line = (text: string, tag = 'F', stream = 'stdout'): string =>
  `2026-11-23T14:03:59.123456789Z ${stream} ${tag} ${text}\n`;

async function texts(path: string, tail: number | undefined): Promise<string[]> {
  const got: string[] = [];
  for await (const entry of readLog(path, tail, undefined)) {
    got.push(Buffer.from(entry.text).toString());
  }
  return got;
}

describe('readLog', () => {
  it('reads a file larger than a block, and ends', async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, '0.log');
      const lines = Array.from({ length: 5000 }, (_, at) => `line ${at}`);
      writeFileSync(path, lines.map((text) => line(text)).join(''));
      assert.deepEqual(await texts(path, undefined), lines);
    });
  });

  it('begins so many full lines before the end', async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, '0.log');
      writeFileSync(path, line('a') + line('b1', 'P') + line('b2') + line('c'));
      assert.deepEqual(await texts(path, 0), []);
      assert.deepEqual(await texts(path, 1), ['c']);
      assert.deepEqual(await texts(path, 2), ['b1', 'b2', 'c']);
      assert.deepEqual(await texts(path, 3), ['a', 'b1', 'b2', 'c']);
      assert.deepEqual(await texts(path, 99), ['a', 'b1', 'b2', 'c']);
    });
  });

  it('has as its tail what the end of the whole has, for any lines', async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, '0.log');
      const text = fc.oneof(
        fc.string({ unit: fc.constantFrom('a', ' ', 'é'), maxLength: 20 }),
        fc.constant('x'.repeat(40_000)),
      );
      const entries = fc.array(fc.tuple(text, fc.constantFrom('P', 'F')), { maxLength: 12 });
      await fc.assert(
        fc.asyncProperty(entries, fc.nat(8), async (list, tail) => {
          writeFileSync(path, list.map(([content, tag]) => line(content, tag)).join(''));
          let from = list.length;
          let full = 0;
          // The tail runs back to just behind the full line before the first one wanted.
          while (from > 0 && tail > 0) {
            if (list[from - 1]?.[1] === 'F') full += 1;
            if (full > tail) break;
            from -= 1;
          }
          const wanted = list.slice(from).map(([content]) => content);
          assert.deepEqual(await texts(path, tail), wanted);
        }),
        { numRuns: 60 },
      );
    });
  });

  it('follows writes, rotation and truncation until the container has ended', async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, '0.log');
      writeFileSync(path, line('one'));
      let hasEnded = false;
      const got: string[] = [];
      const reading = (async () => {
        const follow = {
          hasEnded: () => Promise.resolve(hasEnded),
          signal: new AbortController().signal,
        };
        for await (const entry of readLog(path, undefined, follow)) {
          got.push(Buffer.from(entry.text).toString());
        }
      })();
      const reaches = async (count: number): Promise<void> => {
        for (let tries = 0; got.length < count && tries < 300; tries += 1) await delay(10);
        assert.equal(got.length, count, got.join());
      };
      await reaches(1);
      // A line that arrives in two writes is one line.
      const two = line('two');
      appendFileSync(path, two.slice(0, 40));
      await delay(30);
      appendFileSync(path, two.slice(40));
      await reaches(2);
      // The kubelet renames, and the writer goes on in the old file until it is told to reopen.
      renameSync(path, `${path}.1`);
      appendFileSync(`${path}.1`, line('three'));
      await reaches(3);
      appendFileSync(`${path}.1`, line('four'));
      writeFileSync(path, line('five'));
      await reaches(5);
      truncateSync(path, 0);
      await delay(30);
      appendFileSync(path, line('six'));
      await reaches(6);
      appendFileSync(path, line('seven'));
      hasEnded = true;
      await reading;
      assert.deepEqual(got, ['one', 'two', 'three', 'four', 'five', 'six', 'seven']);
    });
  });

  it('misses nothing that is written just before the writer changes over', async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, '0.log');
      writeFileSync(path, line('one'));
      // Between the read that found the end and the look for another file.
      const handle = await open(path);
      const methods = Object.getPrototypeOf(handle) as { read: (...args: unknown[]) => unknown };
      await handle.close();
      const { read } = methods;
      methods.read = async function (...args) {
        const result = (await read.apply(this, args)) as { bytesRead: number };
        if (result.bytesRead === 0) {
          methods.read = read;
          appendFileSync(path, line('two'));
          renameSync(path, `${path}.1`);
          writeFileSync(path, line('three'));
        }
        return result;
      };
      const got: string[] = [];
      const follow = {
        hasEnded: () => Promise.resolve(true),
        signal: new AbortController().signal,
      };
      try {
        for await (const entry of readLog(path, undefined, follow)) {
          got.push(Buffer.from(entry.text).toString());
        }
      } finally {
        methods.read = read;
      }
      assert.deepEqual(got, ['one', 'two', 'three']);
    });
  });

  it('stops when it is told to', async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, '0.log');
      writeFileSync(path, line('one'));
      const stop = new AbortController();
      const started = Date.now();
      setTimeout(() => {
        stop.abort();
      }, 50);
      const follow = { hasEnded: () => Promise.resolve(false), signal: stop.signal };
      for await (const entry of readLog(path, 0, follow)) assert.fail(entry.timestamp);
      assert.ok(Date.now() - started < 900, 'waited for the next look');
    });
  });
});

describe('tailOffset', () => {
  it('is the end for no lines, and the start of an empty file', async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, '0.log');
      writeFileSync(path, line('a'));
      const file = await open(path);
      assert.equal(await tailOffset(file, 0), line('a').length);
      truncateSync(path, 0);
      assert.equal(await tailOffset(file, 5), 0);
      await file.close();
    });
  });
});
