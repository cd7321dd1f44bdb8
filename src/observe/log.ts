/** The agent's log: pino, written to stderr as one line per event, the way journald or a person reads it. */
import { fstatSync } from 'node:fs';
import { pino } from 'pino';
import type { LogFields, Logger } from '../core/logger.js';
import { RuntimeError } from '../core/errors.js';
import { formatLine } from './log-line.js';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

export interface LogOptions {
  level: LogLevel;
  /** stderr unless a test says otherwise. */
  fd?: number;
  env?: Readonly<Record<string, string | undefined>>;
}

export interface AgentLogger extends Logger {
  trace(fields: LogFields, message: string): void;
  /** Takes effect with the next event. */
  setLevel(level: LogLevel): void;
}

export function createLogger(options: LogOptions): AgentLogger {
  const { level, fd = 2, env = process.env } = options;
  const form = isJournal(fd, env) ? 'journal' : 'text';
  // Synchronous: what was logged before a crash is there, and EAGAIN of a full pipe is retried.
  const destination = pino.destination({ dest: fd, sync: true });
  const backend = pino(
    { level, base: null, timestamp: form === 'text' },
    { write: (json: string) => destination.write(formatLine(json, form)) },
  );
  const at = (name: LogLevel) => (fields: LogFields, message: string) => {
    // Below a key of their own, fields cannot overwrite pino's level, time and msg.
    if (backend.isLevelEnabled(name)) backend[name]({ fields: describe(fields) }, message);
  };
  return {
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    setLevel: (next) => {
      backend.level = next;
    },
  };
}

/**
 * systemd names the device and inode of the journal's stream in JOURNAL_STREAM; a child whose stderr
 * was redirected inherits the variable all the same, so they are compared (systemd.exec(5)).
 */
function isJournal(fd: number, env: Readonly<Record<string, string | undefined>>): boolean {
  const stream = env['JOURNAL_STREAM'];
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return stream === `${dev}:${ino}`;
}

function describe(fields: LogFields): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, describeValue(value)]),
  );
}

function describeValue(value: unknown): unknown {
  if (value instanceof Error) return describeError(value);
  // Nanoseconds do not fit a JSON number.
  if (typeof value === 'bigint') return String(value);
  return Array.isArray(value) ? value.map(describeValue) : value;
}

/** A RuntimeError's message tells the whole chain; only what nobody foresaw needs a stack. */
function describeError(error: Error): Record<string, unknown> {
  const kind = error instanceof RuntimeError ? error.kind : undefined;
  const foreseen = kind !== undefined && kind !== 'internal' && kind !== 'unknown';
  const code = 'code' in error ? error.code : undefined;
  return {
    message: error.message,
    ...(kind === undefined ? { type: error.name } : { kind }),
    ...(code === undefined ? {} : { code }),
    ...(foreseen ? {} : { stack: error.stack }),
  };
}
