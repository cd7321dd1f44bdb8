/** A promise client of the CRI socket, for the command and the tests. */
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import type { CallOptions, MethodDefinition, ServiceError } from '@grpc/grpc-js';
import { hasCode, RuntimeError } from '../core/errors.js';
import { ImageServiceService, RuntimeServiceService } from './gen/index.js';
import { fromServiceError } from './status.js';

/** The kubelet's own limit for most calls. */
export const DEFAULT_TIMEOUT_MS = 120_000;
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** sun_path of struct sockaddr_un, less the closing NUL. */
const MAX_SOCKET_PATH_BYTES = 107;

export interface CriCallOptions {
  signal?: AbortSignal;
  /** 0 for none. */
  timeoutMs?: number;
}

type Call<Method> =
  Method extends MethodDefinition<infer Request, infer Response>
    ? Method extends { responseStream: true }
      ? (request: Request, options?: CriCallOptions) => AsyncIterable<Response>
      : (request: Request, options?: CriCallOptions) => Promise<Response>
    : never;
export type Calls<Service> = { readonly [Name in keyof Service]: Call<Service[Name]> };

/**
 * Every method takes a whole message (`VersionRequest.create({…})`). A call that answers once is a
 * promise; one that answers with a stream is an async iterable. Failures are RuntimeErrors.
 */
export interface CriClient {
  readonly runtime: Calls<typeof RuntimeServiceService>;
  readonly image: Calls<typeof ImageServiceService>;
  /** Calls that still run end as cancelled. */
  close(): void;
}

/**
 * Does not wait: the first call connects. `timeoutMs` (two minutes if not given, 0 for none) is the
 * limit of each call that brings none; streams have a limit only if the call brings it.
 */
export function connectCri(
  socketPath: string,
  { timeoutMs = DEFAULT_TIMEOUT_MS }: { timeoutMs?: number } = {},
): CriClient {
  const connection = { ...openConnection(socketPath), timeoutMs };
  const { client } = connection;
  return {
    runtime: bindCalls(connection, RuntimeServiceService),
    image: bindCalls(connection, ImageServiceService),
    close: () => {
      client.close();
    },
  };
}

export interface ClientConnection {
  client: Client;
  path: string;
}

export interface TimedConnection extends ClientConnection {
  timeoutMs: number;
}

/** Does not wait: the first call connects. */
export function openConnection(socketPath: string): ClientConnection {
  const path = resolve(socketPath);
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new RuntimeError(
      'invalid-argument',
      `socket path ${path} is too long: unix sockets allow ${MAX_SOCKET_PATH_BYTES} bytes`,
    );
  }
  const client = new Client(`unix:${path}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    // An agent that was restarted is back within a second; the default backs off to two minutes.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1000,
  });
  return { client, path };
}

type AnyMethod = MethodDefinition<object, object>;

/** The methods of a service whose caller sends one message. */
export function bindCalls<Service extends object>(
  connection: TimedConnection,
  service: Service,
): Calls<Service> {
  const calls = Object.entries(service).map(([name, method]: [string, AnyMethod]) => [
    name,
    (request: object, options: CriCallOptions = {}) =>
      method.responseStream
        ? callStream(connection, method, request, options)
        : callUnary(connection, method, request, options),
  ]);
  return Object.fromEntries(calls) as Calls<Service>;
}

async function callUnary(
  connection: TimedConnection,
  method: AnyMethod,
  request: object,
  { signal, timeoutMs = connection.timeoutMs }: CriCallOptions,
): Promise<object> {
  refuseAborted(method, signal);
  let abort: (() => void) | undefined;
  try {
    return await new Promise<object>((fulfil, reject) => {
      const call = connection.client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        new Metadata(),
        withDeadline(timeoutMs),
        (error, response) => {
          if (error !== null) reject(error);
          else if (response !== undefined) fulfil(response);
        },
      );
      abort = () => {
        call.cancel();
      };
      signal?.addEventListener('abort', abort);
    });
  } catch (error) {
    throw await explain(connection, method, error);
  } finally {
    if (abort !== undefined) signal?.removeEventListener('abort', abort);
  }
}

async function* callStream(
  connection: TimedConnection,
  method: AnyMethod,
  request: object,
  { signal, timeoutMs = 0 }: CriCallOptions,
): AsyncIterable<object> {
  refuseAborted(method, signal);
  const call = connection.client.makeServerStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    request,
    new Metadata(),
    withDeadline(timeoutMs),
  );
  const abort = (): void => {
    call.cancel();
  };
  signal?.addEventListener('abort', abort);
  try {
    yield* call as AsyncIterable<object>;
  } catch (error) {
    throw await explain(connection, method, error);
  } finally {
    signal?.removeEventListener('abort', abort);
    // Also reached when the caller leaves its loop early.
    call.cancel();
  }
}

function withDeadline(timeoutMs: number): CallOptions {
  return timeoutMs > 0 ? { deadline: Date.now() + timeoutMs } : {};
}

function refuseAborted(method: AnyMethod, signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) {
    throw new RuntimeError('cancelled', `${method.path} was cancelled`, signal.reason);
  }
}

/** What a call failed with, in the words of this side. `reached`: the agent had answered already. */
export async function explain(
  connection: ClientConnection,
  method: { path: string },
  error: unknown,
  reached = false,
): Promise<RuntimeError> {
  if (!isServiceError(error)) {
    return new RuntimeError('internal', `${method.path} failed: ${String(error)}`, error);
  }
  if (error.code === status.UNAVAILABLE && !reached) {
    const refusal = await probe(connection.path);
    if (refusal !== undefined) {
      const start = 'start it by: systemctl start pvecri';
      const why = hasCode(refusal, 'ENOENT')
        ? `there is no such socket; ${start}`
        : hasCode(refusal, 'ECONNREFUSED')
          ? `nothing listens there; ${start}`
          : hasCode(refusal, 'EACCES')
            ? 'permission denied: it lets in root alone'
            : `${refusal.message}; ${start}`;
      return new RuntimeError(
        'unavailable',
        `cannot reach the agent at ${connection.path}: ${why}`,
        error,
      );
    }
  }
  return fromServiceError(error);
}

function isServiceError(error: unknown): error is ServiceError {
  return (
    error instanceof Error &&
    typeof (error as Partial<ServiceError>).code === 'number' &&
    typeof (error as Partial<ServiceError>).details === 'string'
  );
}

/** UNAVAILABLE is also what an agent answers that is starting up: only the socket itself knows. */
function probe(path: string): Promise<Error | undefined> {
  return new Promise((done) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      done(undefined);
    });
    socket.once('error', done);
  });
}
