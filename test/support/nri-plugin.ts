/** An NRI plugin over a real socket: it notes what it is told and answers what the test wants. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Container } from '../../src/nri/gen/container.js';
import type { PodSandbox } from '../../src/nri/gen/pod.js';
import {
  ConfigureRequest,
  ConfigureResponse,
  CreateContainerResponse,
  RegisterPluginRequest,
  StopContainerRequest,
  StopContainerResponse,
  SynchronizeRequest,
  SynchronizeResponse,
  UpdateContainerRequest,
  UpdateContainerResponse,
  UpdateContainersRequest,
  UpdateContainersResponse,
  UpdatePodSandboxRequest,
} from '../../src/nri/gen/service.js';
import { Request, Response } from '../../src/nri/gen/ttrpc.js';
import {
  ValidateContainerAdjustmentRequest,
  ValidateContainerAdjustmentResponse,
} from '../../src/nri/gen/validation.js';
import { FrameReader, toFrames } from '../../src/nri/mux.js';
import { encodeMessage, MessageReader } from '../../src/nri/ttrpc-message.js';

export interface Told {
  method: string;
  pod: PodSandbox | undefined;
  container: Container | undefined;
}

type Fields<T extends { fromPartial(object: never): unknown }> = Parameters<T['fromPartial']>[0];

export interface PluginHandlers {
  /** Before the answer to any call; what it throws is the answer. */
  before?(told: Told): void | Promise<void>;
  synchronize?(): Fields<typeof SynchronizeResponse>;
  create?(container: Container): Fields<typeof CreateContainerResponse>;
  update?(request: UpdateContainerRequest): Fields<typeof UpdateContainerResponse>;
  stop?(container: Container): Fields<typeof StopContainerResponse>;
  validate?(
    request: ValidateContainerAdjustmentRequest,
  ): Fields<typeof ValidateContainerAdjustmentResponse>;
  /** Calls it does not know. */
  unknown?: readonly string[];
}

const WAIT_MS = 20_000;

export class NriPlugin {
  readonly told: Told[] = [];
  synchronized: { pods: string[]; containers: Container[] } | null = null;
  configuration = '';
  readonly socket: Socket;
  readonly #handlers: PluginHandlers;
  readonly #pending = new Map<number, (response: Response) => void>();
  #stream = 1;

  private constructor(socket: Socket, handlers: PluginHandlers) {
    this.socket = socket;
    this.#handlers = handlers;
    socket.on('error', () => undefined);
    const calls = new MessageReader(({ stream, data }) => {
      void this.#serve(stream, data ?? Buffer.alloc(0));
    });
    const answers = new MessageReader(({ stream, data }) => {
      this.#pending.get(stream)?.(Response.decode(data ?? Buffer.alloc(0)));
    });
    const frames = new FrameReader((id, bytes) => {
      (id === 1 ? calls : answers).push(bytes);
    });
    socket.on('data', (bytes: Buffer) => {
      frames.push(bytes);
    });
  }

  /** Resolves when it is synchronized. `name` is `NN-NAME`. */
  static async connect(
    path: string,
    name: string,
    handlers: PluginHandlers = {},
  ): Promise<NriPlugin> {
    const plugin = await NriPlugin.dial(path, handlers);
    await plugin.register(name);
    await plugin.until(() => plugin.synchronized !== null, 'synchronized');
    return plugin;
  }

  /** Connects and says nothing. */
  static async dial(path: string, handlers: PluginHandlers = {}): Promise<NriPlugin> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new NriPlugin(socket, handlers);
  }

  /** Of one that was started with its connection. */
  static over(socket: Socket, handlers: PluginHandlers = {}): NriPlugin {
    return new NriPlugin(socket, handlers);
  }

  async register(name: string): Promise<void> {
    const [pluginIdx = '', ...rest] = name.split('-');
    await this.#call(
      'RegisterPlugin',
      RegisterPluginRequest.encode({
        pluginName: rest.join('-'),
        pluginIdx,
        NRIVersion: 'v0.12.0',
      }).finish(),
    );
  }

  /** Unasked; answers the ids of those that failed. */
  async updateContainers(request: Fields<typeof UpdateContainersRequest>): Promise<string[]> {
    const payload = UpdateContainersRequest.encode(
      UpdateContainersRequest.fromPartial(request),
    ).finish();
    const answer = UpdateContainersResponse.decode(await this.#call('UpdateContainers', payload));
    return answer.failed.map(({ containerId }) => containerId);
  }

  /** Methods it was called with, of one pod or container when an id is given. */
  events(id?: string): string[] {
    return this.told
      .filter(({ pod, container }) => id === undefined || pod?.id === id || container?.id === id)
      .map(({ method }) => method);
  }

  async until(isSo: () => boolean, what: string): Promise<void> {
    const deadline = Date.now() + WAIT_MS;
    while (!isSo()) {
      if (Date.now() > deadline)
        throw new Error(`the plugin was not ${what}: ${this.events().join()}`);
      await sleep(10);
    }
  }

  async heard(event: string, id?: string): Promise<void> {
    await this.until(() => this.events(id).includes(event), `told of ${event}`);
  }

  get isClosed(): boolean {
    return this.socket.closed;
  }

  async closed(): Promise<void> {
    await this.until(() => this.isClosed, 'dropped');
  }

  /** Leaves at once. */
  close(): void {
    this.socket.destroy();
  }

  async #call(method: string, payload: Uint8Array): Promise<Buffer> {
    const stream = this.#stream;
    this.#stream += 2;
    const request = Request.encode({
      service: 'nri.pkg.api.v1alpha1.Runtime',
      method,
      payload: Buffer.from(payload),
      timeoutNano: 0n,
    }).finish();
    const answer = new Promise<Response>((resolve, reject) => {
      this.#pending.set(stream, resolve);
      this.socket.once('close', () => {
        reject(new Error('the agent closed the connection'));
      });
    });
    this.socket.write(Buffer.concat(toFrames(2, encodeMessage(stream, 1, request))));
    const { status, payload: result } = await answer;
    if (status !== undefined && status.code !== 0) throw new Error(status.message);
    return result;
  }

  async #serve(stream: number, data: Buffer): Promise<void> {
    const { method, payload } = Request.decode(data);
    let status: Response['status'];
    let result: Uint8Array = Buffer.alloc(0);
    try {
      if (this.#handlers.unknown?.includes(method) === true) throw new UnknownCall();
      result = await this.#answer(method, payload);
    } catch (error) {
      const code = error instanceof UnknownCall ? 12 : 2;
      status = { code, message: error instanceof Error ? error.message : String(error) };
    }
    if (this.socket.destroyed) return;
    const response = Response.encode({ status, payload: Buffer.from(result) }).finish();
    this.socket.write(Buffer.concat(toFrames(1, encodeMessage(stream, 2, response))));
  }

  async #answer(method: string, payload: Buffer): Promise<Uint8Array> {
    const handlers = this.#handlers;
    if (method === 'Configure') {
      this.configuration = ConfigureRequest.decode(payload).config;
      return ConfigureResponse.encode({ events: 0 }).finish();
    }
    if (method === 'Synchronize') return this.#synchronize(payload);
    // All the others have the pod first, and the container second, if they have one.
    const { pod, container } =
      method === 'StateChange'
        ? { pod: undefined, container: undefined }
        : method === 'UpdatePodSandbox'
          ? { pod: UpdatePodSandboxRequest.decode(payload).pod, container: undefined }
          : StopContainerRequest.decode(payload);
    const told = { method, pod, container };
    this.told.push(told);
    await handlers.before?.(told);
    const subject = container ?? Container.fromPartial({});
    switch (method) {
      case 'CreateContainer': {
        const answer = handlers.create?.(subject) ?? {};
        return CreateContainerResponse.encode(CreateContainerResponse.fromPartial(answer)).finish();
      }
      case 'UpdateContainer': {
        const answer = handlers.update?.(UpdateContainerRequest.decode(payload)) ?? {};
        return UpdateContainerResponse.encode(UpdateContainerResponse.fromPartial(answer)).finish();
      }
      case 'StopContainer': {
        const answer = handlers.stop?.(subject) ?? {};
        return StopContainerResponse.encode(StopContainerResponse.fromPartial(answer)).finish();
      }
      case 'ValidateContainerAdjustment': {
        const request = ValidateContainerAdjustmentRequest.decode(payload);
        const answer = handlers.validate?.(request) ?? {};
        return ValidateContainerAdjustmentResponse.encode(
          ValidateContainerAdjustmentResponse.fromPartial(answer),
        ).finish();
      }
      default:
        return Buffer.alloc(0);
    }
  }

  async #synchronize(payload: Buffer): Promise<Uint8Array> {
    const { pods, containers, more } = SynchronizeRequest.decode(payload);
    await this.#handlers.before?.({ method: 'Synchronize', pod: undefined, container: undefined });
    this.synchronized = {
      pods: [...(this.synchronized?.pods ?? []), ...pods.map(({ id }) => id)],
      containers: [...(this.synchronized?.containers ?? []), ...containers],
    };
    const answer = more ? {} : (this.#handlers.synchronize?.() ?? {});
    return SynchronizeResponse.encode(
      SynchronizeResponse.fromPartial({ ...answer, more }),
    ).finish();
  }
}

class UnknownCall extends Error {}
