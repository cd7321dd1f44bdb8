/** Failures of the command, and the exit code each kind ends the process with. */
import { RuntimeError, isSystemError } from '../core/errors.js';
import type { ErrorKind } from '../core/errors.js';

/** What the agent answers with, and what only a command can meet. */
export type FailureKind = ErrorKind | 'usage' | 'interrupted';

export class CommandFailure extends Error {
  readonly kind: FailureKind;

  constructor(kind: FailureKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CommandFailure';
    this.kind = kind;
  }
}

export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_NOT_FOUND = 3;
export const EXIT_UNREACHABLE = 4;
/** As timeout(1). */
export const EXIT_TIMED_OUT = 124;
/** 128 + SIGINT, as shells report it. */
export const EXIT_INTERRUPTED = 130;

export function exitCodeOf(kind: FailureKind): number {
  switch (kind) {
    case 'usage':
      return EXIT_USAGE;
    case 'not-found':
      return EXIT_NOT_FOUND;
    case 'unavailable':
      return EXIT_UNREACHABLE;
    case 'deadline-exceeded':
      return EXIT_TIMED_OUT;
    case 'interrupted':
      return EXIT_INTERRUPTED;
    default:
      return EXIT_FAILED;
  }
}

/** Any thrown value as a failure of the command. */
export function asFailure(error: unknown): CommandFailure {
  if (error instanceof CommandFailure) return error;
  if (error instanceof RuntimeError) return new CommandFailure(error.kind, error.message, error);
  if (isSystemError(error)) return new CommandFailure('unknown', error.message, error);
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new CommandFailure('internal', `unexpected failure: ${text}`, error);
}

export function usage(message: string): CommandFailure {
  return new CommandFailure('usage', message);
}
