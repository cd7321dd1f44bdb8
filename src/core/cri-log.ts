/**
 * Reading of the CRI log format, one line per entry:
 *
 *     2026-11-23T14:03:59.123456789Z stdout F text
 *     timestamp (RFC 3339, ns)      stream tag, P partial or F full, then the bytes as written
 *
 * A writer cuts a long line into P entries and ends it with an F entry. Text is bytes, not characters:
 * a cut may fall inside a UTF-8 sequence.
 */

export type LogStream = 'stdout' | 'stderr';

export interface LogEntry {
  /** As it stands in the file. */
  timestamp: string;
  stream: LogStream;
  /** More of the same line follows in the stream's next entry. */
  partial: boolean;
  text: Uint8Array;
}

/** Longest line a reader holds back while it waits for the newline; writers cut at 16 KiB. */
export const MAX_LOG_LINE_BYTES = 1 << 20;

const NEWLINE = 0x0a;
const SPACE = 0x20;
const latin1 = new TextDecoder('latin1');
const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;

/** One line without its newline; undefined when it is no log line. */
export function parseLogLine(line: Uint8Array): LogEntry | undefined {
  const first = line.indexOf(SPACE);
  const second = line.indexOf(SPACE, first + 1);
  if (first < 0 || second < 0) return undefined;
  // The tag runs to the next blank, or to the end where an old writer leaves an empty text's blank out.
  const third = line.indexOf(SPACE, second + 1);
  const tagEnd = third < 0 ? line.length : third;
  const timestamp = latin1.decode(line.subarray(0, first));
  const stream = latin1.decode(line.subarray(first + 1, second));
  // Tags after the first are reserved, separated by colons: `P:…`.
  const tag = latin1.decode(line.subarray(second + 1, tagEnd)).split(':')[0];
  if (!TIMESTAMP.test(timestamp)) return undefined;
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  if (tag !== 'P' && tag !== 'F') return undefined;
  return { timestamp, stream, partial: tag === 'P', text: line.subarray(tagEnd + 1) };
}

/** Nanoseconds since the epoch. */
export function logTimestampNanos(timestamp: string): bigint {
  const fraction = /\.(\d{1,9})/.exec(timestamp)?.[1] ?? '';
  const seconds = BigInt(Date.parse(timestamp.replace(/\.\d+/, ''))) / 1000n;
  return seconds * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** Cuts a byte stream into log entries, however the stream is chunked. */
export class LogReader {
  #rest: Uint8Array = new Uint8Array(0);
  #malformed = 0;

  /** Lines that were no log lines, skipped. */
  get malformed(): number {
    return this.#malformed;
  }

  push(chunk: Uint8Array): LogEntry[] {
    const entries: LogEntry[] = [];
    const bytes = this.#rest.length === 0 ? chunk : join(this.#rest, chunk);
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      this.#take(bytes.subarray(start, end), entries);
      start = end + 1;
    }
    // A copy, as the caller may reuse the chunk's memory; slice() of a Buffer is none.
    this.#rest = Uint8Array.from(bytes.subarray(start));
    if (this.#rest.length > MAX_LOG_LINE_BYTES) {
      this.#rest = new Uint8Array(0);
      this.#malformed += 1;
    }
    return entries;
  }

  /** The last line may lack its newline when the writer was killed. */
  end(): LogEntry[] {
    const entries: LogEntry[] = [];
    if (this.#rest.length > 0) this.#take(this.#rest, entries);
    this.#rest = new Uint8Array(0);
    return entries;
  }

  #take(line: Uint8Array, entries: LogEntry[]): void {
    const entry = parseLogLine(line);
    if (entry === undefined) this.#malformed += 1;
    else entries.push(entry);
  }
}

/**
 * Turns entries back into what the container wrote: the text of P entries runs on into the next entry
 * of the same stream, and F entries end a line. With a prefix (a timestamp) each line carries it once.
 */
export class LogJoiner {
  readonly #open = { stdout: false, stderr: false };

  render(entry: LogEntry, prefix = ''): Uint8Array {
    const startsLine = !this.#open[entry.stream];
    this.#open[entry.stream] = entry.partial;
    const head = startsLine && prefix !== '' ? new TextEncoder().encode(prefix) : new Uint8Array(0);
    const out = new Uint8Array(head.length + entry.text.length + (entry.partial ? 0 : 1));
    out.set(head);
    out.set(entry.text, head.length);
    if (!entry.partial) out[out.length - 1] = NEWLINE;
    return out;
  }
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
