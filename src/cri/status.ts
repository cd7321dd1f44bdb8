/** The one place where failures become gRPC codes. */
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { RuntimeError, type ErrorKind } from '../core/errors.js';

const CODES: Readonly<Record<ErrorKind, status>> = {
  'invalid-argument': status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  'already-exists': status.ALREADY_EXISTS,
  'failed-precondition': status.FAILED_PRECONDITION,
  'permission-denied': status.PERMISSION_DENIED,
  unauthenticated: status.UNAUTHENTICATED,
  'resource-exhausted': status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  'deadline-exceeded': status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  unimplemented: status.UNIMPLEMENTED,
  aborted: status.ABORTED,
  'data-loss': status.DATA_LOSS,
  unknown: status.UNKNOWN,
  internal: status.INTERNAL,
};

/** Anything that is not a RuntimeError is a fault of ours, and says so. */
export function toServiceError(error: unknown): ServiceError {
  const kind = error instanceof RuntimeError ? error.kind : 'internal';
  const message = error instanceof Error ? error.message : String(error);
  return Object.assign(new Error(message), {
    name: 'ServiceError',
    code: CODES[kind],
    details: message,
    metadata: new Metadata(),
  });
}

/** The way back, for clients. */
export function fromCode(code: number): ErrorKind {
  // Some servers say OUT_OF_RANGE where ours says INVALID_ARGUMENT.
  return KINDS.get(code) ?? (code === OUT_OF_RANGE ? 'invalid-argument' : 'unknown');
}

const OUT_OF_RANGE = 11;
const KINDS: ReadonlyMap<number, ErrorKind> = new Map(
  Object.entries(CODES).map(([kind, code]) => [code, kind as ErrorKind]),
);
