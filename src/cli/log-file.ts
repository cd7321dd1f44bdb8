/** A container's log file: its last lines, what was added since, and the file that follows a rotation. */
import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { LogReader, parseLogLine } from '../core/cri-log.js';
import type { LogEntry } from '../core/cri-log.js';
import { hasCode } from '../core/errors.js';

const BLOCK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
/** How often a follower asks whether the container has ended, and looks where watching fails. */
const CHECK_MS = 1000;

export interface FollowOptions {
  /** Whether the container has ended; asked about once a second. */
  hasEnded: () => Promise<boolean>;
  signal: AbortSignal;
}

/** Where the last `lines` full lines begin. Of partial entries only those behind that place count. */
export async function tailOffset(file: FileHandle, lines: number): Promise<number> {
  const { size } = await file.stat();
  if (lines === 0) return size;
  let rest = Buffer.alloc(0);
  let found = 0;
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - BLOCK_BYTES);
    const block = await readExactly(file, start, end - start);
    const bytes = Buffer.concat([block, rest]);
    let lineEnd = bytes.length;
    // A line that begins in this block is whole now; what is before the first newline is not yet.
    for (let at = bytes.lastIndexOf(NEWLINE, lineEnd - 2); at >= 0;) {
      if (isFullLine(bytes.subarray(at + 1, lineEnd))) {
        found += 1;
        // The line above the last one wanted: everything behind it is shown.
        if (found > lines) return start + lineEnd;
      }
      lineEnd = at + 1;
      at = lineEnd < 2 ? -1 : bytes.lastIndexOf(NEWLINE, lineEnd - 2);
    }
    rest = Buffer.from(bytes.subarray(0, lineEnd));
    end = start;
  }
  return found === lines && isFullLine(rest) ? rest.length : 0;
}

function isFullLine(line: Uint8Array): boolean {
  const end = line.at(-1) === NEWLINE ? line.length - 1 : line.length;
  return parseLogLine(line.subarray(0, end))?.partial === false;
}

async function readExactly(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, position + filled);
    // Truncated meanwhile: what is gone was no line.
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

/** Entries from `tail` lines before the end (all when undefined) to the end, or on and on. */
export async function* readLog(
  path: string,
  tail: number | undefined,
  follow: FollowOptions | undefined,
): AsyncGenerator<LogEntry> {
  let file = await open(path, 'r');
  let next: FileHandle | undefined;
  const changes = follow === undefined ? undefined : new FileWatch(path);
  try {
    let position = tail === undefined ? 0 : await tailOffset(file, tail);
    const reader = new LogReader();
    const buffer = Buffer.alloc(BLOCK_BYTES);
    let ended = false;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
      position += bytesRead;
      yield* reader.push(buffer.subarray(0, bytesRead));
      if (bytesRead > 0) continue;
      if (next !== undefined) {
        // The writer had changed over before this last read: all of the old file is read.
        yield* reader.end();
        await file.close();
        file = next;
        next = undefined;
        position = 0;
        continue;
      }
      next = follow === undefined ? undefined : await openNext(path, file);
      if (next !== undefined) continue;
      if (follow === undefined || changes === undefined || follow.signal.aborted || ended) break;
      // Ended is seen before the last look at the file, so that nothing written meanwhile is missed.
      const changed = await changes.next(CHECK_MS, follow.signal);
      ended = !changed && (isAborted(follow.signal) || (await follow.hasEnded()));
      if ((await file.stat()).size < position) position = 0;
    }
    yield* reader.end();
  } finally {
    changes?.close();
    await next?.close();
    await file.close();
  }
}

/** Asked by a call: what the compiler saw before a wait need not hold after it. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** The file that stands at the path now, when it is another one than `current`. */
async function openNext(path: string, current: FileHandle): Promise<FileHandle | undefined> {
  const [mine, theirs] = await Promise.all([
    current.stat(),
    stat(path).catch((error: unknown) => {
      // Renamed, and the new one is not there yet.
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }),
  ]);
  if (theirs === undefined || (mine.ino === theirs.ino && mine.dev === theirs.dev)) {
    return undefined;
  }
  return open(path, 'r').catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  });
}

/** Tells of changes to one file, also of one made while nobody was waiting. */
class FileWatch {
  readonly #watcher: FSWatcher;
  #changed = false;
  #wake: (() => void) | undefined;

  constructor(path: string) {
    // The folder, not the file: a watch on a file goes with it when it is renamed.
    this.#watcher = watch(dirname(path), (_, name) => {
      if (name !== null && name !== basename(path)) return;
      this.#changed = true;
      this.#wake?.();
    });
    // A folder that can't be watched any more is still looked at once a second.
    this.#watcher.on('error', () => undefined);
  }

  /** True when something changed since the last call, or does within the time. */
  async next(milliseconds: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#changed && !signal.aborted) {
      await new Promise<void>((wake) => {
        const timer = setTimeout(wake, milliseconds);
        this.#wake = () => {
          clearTimeout(timer);
          wake();
        };
        signal.addEventListener('abort', this.#wake, { once: true });
      });
      if (this.#wake) signal.removeEventListener('abort', this.#wake);
      this.#wake = undefined;
    }
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }

  close(): void {
    this.#watcher.close();
  }
}
