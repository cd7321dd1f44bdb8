/** One connected plugin: registration, configuration, synchronization, and calls it subscribed to. */
import type { Duplex } from 'node:stream';
import type { Container } from './gen/container.js';
import type { ContainerUpdate } from './gen/adjustment.js';
import type { PodSandbox } from './gen/pod.js';
import {
  ConfigureRequest,
  ConfigureResponse,
  RegisterPluginRequest,
  SynchronizeRequest,
  SynchronizeResponse,
  UpdateContainersRequest,
  UpdateContainersResponse,
} from './gen/service.js';
import { CODE, ConnectionError, OversizedError, StatusError, TtrpcPeer } from './ttrpc.js';
import { MAX_DATA } from './ttrpc-message.js';

const PLUGIN_SERVICE = 'nri.pkg.api.v1alpha1.Plugin';
const RUNTIME_SERVICE = 'nri.pkg.api.v1alpha1.Runtime';
/** One bit for each of the 14 events. */
const ALL_EVENTS = (1 << 14) - 1;
/** Below that a synchronization is not cut any smaller. */
const MIN_OBJECTS = 8;

export interface PluginOptions {
  runtimeName: string;
  runtimeVersion: string;
  registrationTimeoutMs: number;
  requestTimeoutMs: number;
  /** What the runtime has for it in a file; '' for nothing. */
  configuration: string;
  /** Of a plugin that we start: it does not choose its name. */
  identity: { name: string; index: string } | null;
  /** Changes that the plugin asks for by itself; answers those that failed. */
  updateContainers(request: UpdateContainersRequest): Promise<ContainerUpdate[]>;
}

export class Plugin {
  #name = '';
  #index = '';
  #events = 0;
  readonly #peer: TtrpcPeer;
  readonly #options: PluginOptions;
  #onRegistered: () => void = () => undefined;
  #isRegistered = false;

  constructor(socket: Duplex, options: PluginOptions) {
    this.#options = options;
    this.#name = options.identity?.name ?? '';
    this.#index = options.identity?.index ?? '';
    this.#peer = new TtrpcPeer(socket, (service, method, payload) =>
      this.#serve(service, method, payload),
    );
  }

  /** As logs and conflicts name it. */
  get name(): string {
    return this.#index === '' ? 'unregistered' : `${this.#index}-${this.#name}`;
  }

  /** Without the index. */
  get baseName(): string {
    return this.#name;
  }

  /** Plugins are called in the order of it. */
  get index(): string {
    return this.#index;
  }

  get isClosed(): boolean {
    return this.#peer.isClosed;
  }

  get closed(): Promise<Error | null> {
    return this.#peer.closed;
  }

  /** Numbers of gen/event's Event. */
  subscribes(event: number): boolean {
    return (this.#events & (1 << (event - 1))) !== 0;
  }

  /** Waits for its registration and configures it. A plugin that fails in this is closed. */
  async start(): Promise<void> {
    try {
      await this.#registration();
      const { runtimeName, runtimeVersion, configuration } = this.#options;
      const { events } = await this.call('Configure', ConfigureRequest, ConfigureResponse, {
        config: configuration,
        runtimeName,
        runtimeVersion,
        registrationTimeout: BigInt(this.#options.registrationTimeoutMs),
        requestTimeout: BigInt(this.#options.requestTimeoutMs),
        NRIVersion: 'v0.12.0',
      });
      if ((events & ~ALL_EVENTS) !== 0) {
        throw new ConnectionError(`it subscribes to events that do not exist: ${events}`);
      }
      this.#events = events === 0 ? ALL_EVENTS : events;
    } catch (error) {
      this.close(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  }

  /** StatusError is the plugin's own answer, OversizedError sends nothing; ConnectionError has closed it. */
  async call<Req, Res>(
    method: string,
    request: Encoder<Req>,
    response: Decoder<Res>,
    message: Req,
    timeoutMs = this.#options.requestTimeoutMs,
  ): Promise<Res> {
    const answer = await this.#peer.call(
      PLUGIN_SERVICE,
      method,
      request.encode(message).finish(),
      timeoutMs,
    );
    try {
      return response.decode(answer);
    } catch {
      const error = new ConnectionError(`its answer to ${method} cannot be read`);
      this.close(error);
      throw error;
    }
  }

  /** Tells it all there is, in as many messages as that takes; answers the changes it wants. */
  async synchronize(
    pods: readonly PodSandbox[],
    containers: readonly Container[],
  ): Promise<ContainerUpdate[]> {
    const left = { pods: [...pods], containers: [...containers] };
    let size = { pods: pods.length, containers: containers.length };
    for (;;) {
      const part = {
        pods: left.pods.slice(0, size.pods),
        containers: left.containers.slice(0, size.containers),
        more: left.pods.length > size.pods || left.containers.length > size.containers,
      };
      let answer: SynchronizeResponse;
      try {
        // It has more to do than with an event, and it comes once.
        answer = await this.call(
          'Synchronize',
          SynchronizeRequest,
          SynchronizeResponse,
          part,
          Math.max(this.#options.registrationTimeoutMs, this.#options.requestTimeoutMs),
        );
      } catch (error) {
        if (!(error instanceof OversizedError)) throw error;
        size = smaller(size, error);
        continue;
      }
      if (!part.more) return answer.update;
      if (answer.update.length > 0 || !answer.more) {
        const error = new ConnectionError('it does not take a synchronization in parts');
        this.close(error);
        throw error;
      }
      left.pods.splice(0, part.pods.length);
      left.containers.splice(0, part.containers.length);
    }
  }

  /** Idempotent. */
  close(error: Error | null): void {
    this.#peer.close(error);
  }

  async #registration(): Promise<void> {
    if (this.#isRegistered) return;
    const { registrationTimeoutMs } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#onRegistered = resolve;
        timer = setTimeout(() => {
          reject(new ConnectionError(`it did not register within ${registrationTimeoutMs} ms`));
        }, registrationTimeoutMs);
        void this.#peer.closed.then((error) => {
          reject(new ConnectionError(error?.message ?? 'it left before it had registered'));
        });
      });
    } finally {
      clearTimeout(timer);
    }
  }

  async #serve(service: string, method: string, payload: Buffer): Promise<Uint8Array> {
    if (service === RUNTIME_SERVICE && method === 'RegisterPlugin') {
      this.#register(decode(RegisterPluginRequest, payload));
      return Buffer.alloc(0);
    }
    if (service === RUNTIME_SERVICE && method === 'UpdateContainers') {
      if (this.#events === 0) throw new StatusError(CODE.unavailable, 'not configured yet');
      const request = decode(UpdateContainersRequest, payload);
      const failed = await this.#options.updateContainers(request);
      return UpdateContainersResponse.encode({ failed }).finish();
    }
    throw new StatusError(CODE.unimplemented, `${service}/${method} does not exist`);
  }

  #register({ pluginName, pluginIdx }: RegisterPluginRequest): void {
    if (this.#isRegistered) throw new StatusError(CODE.invalidArgument, 'it is registered already');
    const { name, index } = this.#options.identity ?? { name: pluginName, index: pluginIdx };
    if (!/^[a-zA-Z0-9_.+-]{1,255}$/.test(name)) {
      throw new StatusError(
        CODE.invalidArgument,
        `plugin name ${JSON.stringify(name.slice(0, 80))} is invalid: expected letters, digits and -_.+`,
      );
    }
    if (!/^\d\d$/.test(index)) {
      throw new StatusError(
        CODE.invalidArgument,
        `plugin index ${JSON.stringify(index.slice(0, 80))} is invalid: expected two digits`,
      );
    }
    this.#name = name;
    this.#index = index;
    this.#isRegistered = true;
    this.#onRegistered();
  }
}

export interface Encoder<T> {
  encode(message: T): { finish(): Uint8Array };
}

export interface Decoder<T> {
  decode(bytes: Uint8Array): T;
}

function decode<T>(type: Decoder<T>, payload: Buffer): T {
  try {
    return type.decode(payload);
  } catch {
    throw new StatusError(CODE.invalidArgument, 'the request cannot be read');
  }
}

/** As NRI's own runtime side cuts: by the excess, at least by a tenth, to no fewer than eight objects. */
function smaller(
  { pods, containers }: { pods: number; containers: number },
  error: OversizedError,
): { pods: number; containers: number } {
  if (pods + containers <= MIN_OBJECTS) throw error;
  const factor = Math.min(MAX_DATA / error.length, 0.9);
  const next = { pods: Math.floor(pods * factor), containers: Math.floor(containers * factor) };
  if (next.pods + next.containers >= MIN_OBJECTS) return next;
  return { pods: MIN_OBJECTS / 2, containers: MIN_OBJECTS / 2 };
}
