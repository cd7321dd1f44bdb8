/**
 * The closed set of failures the agent can answer with.
 *
 * A message is lower-case without a final period, and names the object, the value and what to do.
 * Library code throws and never logs; the CRI interceptor logs each failed call once. The kinds are
 * mapped to gRPC codes in one place, src/cri/status.ts.
 */
export type ErrorKind =
  | 'invalid-argument'
  | 'not-found'
  | 'already-exists'
  | 'failed-precondition'
  | 'permission-denied'
  | 'unauthenticated'
  | 'resource-exhausted'
  | 'unavailable'
  /** A registry that could not be reached or is out of order. */
  | 'registry-unavailable'
  /** An image without the signature that a policy asks for. */
  | 'signature-invalid'
  /** An image that should be a volume, and cannot. */
  | 'image-volume-failed'
  | 'deadline-exceeded'
  | 'cancelled'
  | 'unimplemented'
  | 'aborted'
  | 'data-loss'
  | 'unknown'
  | 'internal';

export class RuntimeError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'RuntimeError';
    this.kind = kind;
  }
}

/** Shape of the errors Node's own modules and our addon throw. */
export interface SystemError extends Error {
  code: string;
  errno: number;
  syscall: string;
}

export function isSystemError(error: unknown): error is SystemError {
  return (
    error instanceof Error &&
    typeof (error as Partial<SystemError>).code === 'string' &&
    typeof (error as Partial<SystemError>).syscall === 'string'
  );
}

export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as Partial<SystemError>).code ?? '');
}

const ERRNO_KINDS: Readonly<Record<string, ErrorKind>> = {
  ENOSPC: 'resource-exhausted',
  EMFILE: 'resource-exhausted',
  ENFILE: 'resource-exhausted',
  ENOMEM: 'resource-exhausted',
  EROFS: 'failed-precondition',
  EBUSY: 'failed-precondition',
  ETIMEDOUT: 'deadline-exceeded',
};

/** Disk quota exceeded; libuv, and so Node, has no name for it. */
export const EDQUOT = 122;

function kindOf(error: SystemError): ErrorKind | undefined {
  return Math.abs(error.errno) === EDQUOT ? 'resource-exhausted' : ERRNO_KINDS[error.code];
}

/**
 * Wraps a lower failure with the object it happened to: `wrap(e, 'cannot pin namespaces of sandbox x')`.
 * Keeps the kind of a RuntimeError; an errno without a meaning of its own becomes `fallback`.
 */
export function wrap(
  cause: unknown,
  message: string,
  fallback: ErrorKind = 'internal',
): RuntimeError {
  const text = `${message}: ${cause instanceof Error ? cause.message : String(cause)}`;
  if (cause instanceof RuntimeError) return new RuntimeError(cause.kind, text, cause);
  const kind = isSystemError(cause) ? (kindOf(cause) ?? fallback) : fallback;
  return new RuntimeError(kind, text, cause);
}
