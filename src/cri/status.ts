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
  'registry-unavailable': status.UNKNOWN,
  'signature-invalid': status.UNKNOWN,
  'image-volume-failed': status.UNKNOWN,
  'deadline-exceeded': status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  unimplemented: status.UNIMPLEMENTED,
  aborted: status.ABORTED,
  'data-loss': status.DATA_LOSS,
  unknown: status.UNKNOWN,
  internal: status.INTERNAL,
};

/**
 * Words at the beginning of a message that the kubelet makes the pod's reason of
 * (pkg/kubelet/images/image_manager.go, cri-api/pkg/errors). It finds them behind code UNKNOWN alone,
 * which it takes off a message.
 */
const PREFIXES: ReadonlyMap<ErrorKind, string> = new Map([
  ['registry-unavailable', 'RegistryUnavailable: '],
  ['signature-invalid', 'SignatureValidationFailed: '],
  ['image-volume-failed', 'ImageVolumeMountFailed: '],
]);

/** Anything that is not a RuntimeError is a fault of ours, and says so. */
export function toServiceError(error: unknown): ServiceError {
  const kind = error instanceof RuntimeError ? error.kind : 'internal';
  const text = error instanceof Error ? error.message : String(error);
  const message = `${PREFIXES.get(kind) ?? ''}${text}`;
  return Object.assign(new Error(message), {
    name: 'ServiceError',
    code: CODES[kind],
    details: message,
    metadata: new Metadata(),
  });
}

/** The way back, for clients. */
export function fromServiceError(error: ServiceError): RuntimeError {
  for (const [kind, prefix] of PREFIXES) {
    if (error.code !== CODES[kind] || !error.details.startsWith(prefix)) continue;
    return new RuntimeError(kind, error.details.slice(prefix.length), error);
  }
  // Some servers say OUT_OF_RANGE where ours says INVALID_ARGUMENT.
  const kind = error.code === status.OUT_OF_RANGE ? 'invalid-argument' : KINDS.get(error.code);
  return new RuntimeError(kind ?? 'unknown', error.details, error);
}

const KINDS: ReadonlyMap<status, ErrorKind> = new Map(
  Object.entries(CODES)
    .map(([kind, code]) => [code, kind as ErrorKind] as const)
    .filter(([, kind]) => !PREFIXES.has(kind)),
);
