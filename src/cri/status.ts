/** The one place where failures become gRPC codes. */
import { status, type ServiceError } from '@grpc/grpc-js';
import { Metadata } from '@grpc/grpc-js';
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
  const found = Object.entries(CODES).find(([, value]) => (value as number) === code);
  // Some servers say OUT_OF_RANGE where ours says INVALID_ARGUMENT.
  if (found === undefined && (code as status) === status.OUT_OF_RANGE) return 'invalid-argument';
  return (found?.[0] as ErrorKind | undefined) ?? 'unknown';
}
