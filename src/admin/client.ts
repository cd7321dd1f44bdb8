/** A client of the admin socket, for the command. */
import { once } from 'node:events';
import { Metadata, type ClientDuplexStream, type MethodDefinition } from '@grpc/grpc-js';
import type { TerminalSize } from '../core/model.js';
import {
  bindCalls,
  DEFAULT_TIMEOUT_MS,
  explain,
  openConnection,
  type Calls,
  type ClientConnection,
} from '../cri/client.js';
import { AdminService, AttachStart, ExecStart, type Output } from './gen/admin.js';
import { loadImages } from './load-client.js';
import type { Input } from './stream-call.js';

export { ArchiveFormat, CheckDepth, FindingOutcome, LayerState, PushState } from './gen/admin.js';
export type {
  ImageFinding,
  ImagesChecked,
  ImageSummary,
  Output,
  PrunedImage,
  Pull,
  PullLayer,
  Push,
  VerifyImageResponse,
} from './gen/admin.js';

const IMAGE_CALLS = {
  pullImage: AdminService.pullImage,
  listPulls: AdminService.listPulls,
  watchPulls: AdminService.watchPulls,
  listImages: AdminService.listImages,
  tagImage: AdminService.tagImage,
  pruneImages: AdminService.pruneImages,
  saveImages: AdminService.saveImages,
  pushImage: AdminService.pushImage,
  verifyImage: AdminService.verifyImage,
  checkImages: AdminService.checkImages,
};

export interface AdminClient {
  readonly images: Calls<typeof IMAGE_CALLS>;
  /** `name` is the archive's own. */
  loadImages(
    name: string,
    archive: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): ReturnType<typeof loadImages>;
  exec(start: Partial<ExecStart>): AdminStream;
  attach(start: Partial<AttachStart>): AdminStream;
  /** Streams that still run end as cancelled. */
  close(): void;
}

/** Does not wait: the first call connects. */
export function connectAdmin(socketPath: string): AdminClient {
  const connection = openConnection(socketPath);
  return {
    images: bindCalls({ ...connection, timeoutMs: DEFAULT_TIMEOUT_MS }, IMAGE_CALLS),
    loadImages: (name, archive, signal) => loadImages(connection, name, archive, signal),
    exec: (start) => new AdminStream(connection, AdminService.exec, ExecStart.create(start)),
    attach: (start) => new AdminStream(connection, AdminService.attach, AttachStart.create(start)),
    close: () => {
      connection.client.close();
    },
  };
}

type Message = NonNullable<Input<unknown>['message']>;

/** One call. Its messages are to be read to their end; that end may be a RuntimeError. */
export class AdminStream {
  readonly #connection: ClientConnection;
  readonly #method: { path: string };
  readonly #call: ClientDuplexStream<Input<unknown>, Output>;
  #over = false;

  constructor(
    connection: ClientConnection,
    // The two calls differ in the type of their first message alone.
    method: Pick<
      MethodDefinition<never, Output>,
      'path' | 'requestSerialize' | 'responseDeserialize'
    >,
    start: unknown,
  ) {
    this.#connection = connection;
    this.#method = method;
    const call = connection.client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize as (message: Input<unknown>) => Buffer,
      method.responseDeserialize,
      new Metadata(),
      {},
    );
    this.#call = call;
    call.once('close', () => (this.#over = true));
    call.once('status', () => (this.#over = true));
    // It comes out of messages().
    call.on('error', () => undefined);
    call.write({ message: { $case: 'start', value: start } });
  }

  async *messages(): AsyncGenerator<NonNullable<Output['message']>> {
    let reached = false;
    try {
      for await (const { message } of this.#call as AsyncIterable<Output>) {
        reached = true;
        if (message !== undefined) yield message;
      }
    } catch (error) {
      throw await explain(this.#connection, this.#method, error, reached);
    }
  }

  /** Resolves when more can be sent, or nothing needs to be any more. */
  async stdin(value: Buffer): Promise<void> {
    await this.#send({ $case: 'stdin', value });
  }

  async stdinEnd(): Promise<void> {
    await this.#send({ $case: 'stdinEnd', value: {} });
  }

  resize(value: TerminalSize): void {
    void this.#send({ $case: 'resize', value });
  }

  cancel(): void {
    this.#call.cancel();
  }

  async #send(message: Message): Promise<void> {
    if (this.#over || this.#call.write({ message })) return;
    const settled = new AbortController();
    const options = { signal: settled.signal };
    await Promise.race([
      once(this.#call, 'drain', options),
      once(this.#call, 'status', options),
    ]).catch(() => undefined);
    settled.abort();
  }
}
