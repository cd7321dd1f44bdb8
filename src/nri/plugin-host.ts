/** The connected plugins: who comes in, who is dropped, and the order in which all hear of everything. */
import type { Duplex } from 'node:stream';
import { RuntimeError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { Resources } from '../core/model.js';
import type {
  ContainerChanges,
  ContainerEvent,
  CreateAnswer,
  PluginContainer,
  PluginHost,
  PluginPod,
  PluginRuntime,
  PodEvent,
  UpdateAnswer,
} from '../core/ports/plugins.js';
import { mergeResources } from '../core/resource-change.js';
import { KeyedMutex } from '../util/keyed-mutex.js';
import { Adjusting } from './adjustment.js';
import { Changes } from './changes.js';
import { toCoreAdjustment } from './core-adjustment.js';
import { toContainer, toLinuxResources, toPodSandbox } from './facts.js';
import type { ContainerUpdate } from './gen/adjustment.js';
import { Empty, Event } from './gen/event.js';
import {
  CreateContainerRequest,
  CreateContainerResponse,
  StateChangeEvent,
  StopContainerRequest,
  StopContainerResponse,
  UpdateContainerRequest,
  UpdateContainerResponse,
  UpdatePodSandboxRequest,
  UpdatePodSandboxResponse,
  type UpdateContainersRequest,
} from './gen/service.js';
import { Owners } from './owners.js';
import { Plugin, type Decoder, type Encoder, type PluginOptions } from './plugin.js';
import { CODE, ConnectionError, StatusError } from './ttrpc.js';
import { validate, type BuiltInValidator } from './validation.js';

const EVENTS = {
  RunPodSandbox: Event.RUN_POD_SANDBOX,
  PostUpdatePodSandbox: Event.POST_UPDATE_POD_SANDBOX,
  StopPodSandbox: Event.STOP_POD_SANDBOX,
  RemovePodSandbox: Event.REMOVE_POD_SANDBOX,
  PostCreateContainer: Event.POST_CREATE_CONTAINER,
  StartContainer: Event.START_CONTAINER,
  PostStartContainer: Event.POST_START_CONTAINER,
  PostUpdateContainer: Event.POST_UPDATE_CONTAINER,
  RemoveContainer: Event.REMOVE_CONTAINER,
} as const;

/** What a plugin refuses does not take place; of the others it is told afterwards, or cannot keep it. */
const REFUSABLE: readonly (PodEvent | ContainerEvent)[] = ['RunPodSandbox', 'StartContainer'];

/** Connections that have not registered yet: each may take as long as the time limit. */
const MAX_COMING = 64;
const ORDER = 'events';

export interface PluginHostOptions {
  runtimeVersion: string;
  registrationTimeoutMs: number;
  requestTimeoutMs: number;
  validators: readonly BuiltInValidator[];
  log: Logger;
}

export class NriPluginHost implements PluginHost {
  readonly #options: PluginHostOptions;
  readonly #order = new KeyedMutex();
  readonly #coming = new Set<Plugin>();
  #plugins: Plugin[] = [];
  #runtime: PluginRuntime | null = null;

  constructor(options: PluginHostOptions) {
    this.#options = options;
  }

  /** Names of those that are in, in the order of their calls. */
  get names(): string[] {
    return this.#plugins.map(({ name }) => name);
  }

  /** From here plugins may come. */
  open(runtime: PluginRuntime): void {
    this.#runtime = runtime;
  }

  /** Takes over a connection; resolves, always, when its plugin is in or dropped. */
  async accept(
    socket: Duplex,
    of: Pick<PluginOptions, 'configuration' | 'identity'> = { configuration: '', identity: null },
  ): Promise<void> {
    const runtime = this.#runtime;
    const { log, runtimeVersion, registrationTimeoutMs, requestTimeoutMs } = this.#options;
    if (runtime === null || this.#coming.size >= MAX_COMING) {
      log.warn({ coming: this.#coming.size }, 'refused an NRI plugin: too many come at once');
      socket.destroy();
      return;
    }
    const plugin: Plugin = new Plugin(socket, {
      runtimeName: 'pvecri',
      runtimeVersion,
      registrationTimeoutMs,
      requestTimeoutMs,
      ...of,
      updateContainers: (request) => this.#requested(plugin, runtime, request),
    });
    this.#coming.add(plugin);
    try {
      await plugin.start();
      const updates = await this.#order.run(ORDER, () => this.#takeIn(plugin, runtime));
      // Not in order with events: limits are changed under locks that events may be waited for with.
      await runtime.change(updates);
    } catch (error) {
      plugin.close(null);
      log.warn({ plugin: plugin.name, err: error }, 'an NRI plugin did not get in');
    } finally {
      this.#coming.delete(plugin);
    }
  }

  close(): void {
    this.#runtime = null;
    for (const plugin of [...this.#coming, ...this.#plugins]) plugin.close(null);
  }

  podEvent(event: PodEvent, pod: PluginPod, introduce?: () => void): Promise<void> {
    return this.#tell(event, pod, null, introduce);
  }

  containerEvent(event: ContainerEvent, pod: PluginPod, container: PluginContainer): Promise<void> {
    return this.#tell(event, pod, container);
  }

  updatePod(
    pod: PluginPod,
    overhead: Resources | null,
    resources: Resources | null,
  ): Promise<void> {
    return this.#order.run(ORDER, async () => {
      const request = {
        pod: toPodSandbox(pod),
        overheadLinuxResources: toLinuxResources(overhead),
        linuxResources: toLinuxResources(resources),
      };
      for (const plugin of this.#subscribers(Event.UPDATE_POD_SANDBOX)) {
        await this.#ask(
          plugin,
          'UpdatePodSandbox',
          UpdatePodSandboxRequest,
          UpdatePodSandboxResponse,
          request,
        );
      }
    });
  }

  createContainer(
    pod: PluginPod,
    container: PluginContainer,
    introduce: () => void,
  ): Promise<CreateAnswer> {
    return this.#order.run(ORDER, async () => {
      const owners = new Owners();
      const changes = new Changes(owners);
      const { id, resources } = container.record;
      const adjusting = new Adjusting(toContainer(container), resources, owners);
      const podFacts = toPodSandbox(pod);
      for (const plugin of this.#subscribers(Event.CREATE_CONTAINER)) {
        const answer = await this.#ask(
          plugin,
          'CreateContainer',
          CreateContainerRequest,
          CreateContainerResponse,
          { pod: podFacts, container: adjusting.container },
        );
        if (answer === null) continue;
        if (answer.adjust !== undefined) adjusting.apply(plugin.name, answer.adjust);
        refuseSelf(plugin, id, answer.update);
        changes.add(plugin.name, answer.update, answer.evict);
      }
      const result = changes.result();
      await validate(
        {
          pod: podFacts,
          container: toContainer(container),
          adjusting,
          owners,
          updates: result.updates,
          plugins: this.#plugins,
        },
        this.#options.validators,
        this.#subscribers(Event.VALIDATE_CONTAINER_ADJUSTMENT),
      );
      const adjustment = toCoreAdjustment(adjusting);
      introduce();
      return { adjustment, ...result };
    });
  }

  updateContainer(
    pod: PluginPod,
    container: PluginContainer,
    change: Resources,
  ): Promise<UpdateAnswer> {
    return this.#order.run(ORDER, async () => {
      const changes = new Changes();
      const { id } = container.record;
      const facts = { pod: toPodSandbox(pod), container: toContainer(container) };
      for (const plugin of this.#subscribers(Event.UPDATE_CONTAINER)) {
        const linuxResources = toLinuxResources(merged(change, changes.of(id)));
        const answer = await this.#ask(
          plugin,
          'UpdateContainer',
          UpdateContainerRequest,
          UpdateContainerResponse,
          { ...facts, linuxResources },
        );
        if (answer !== null) changes.add(plugin.name, answer.update, answer.evict);
      }
      const resources = merged(change, changes.take(id));
      return { resources, ...changes.result() };
    });
  }

  stopContainer(pod: PluginPod, container: PluginContainer): Promise<ContainerChanges> {
    return this.#order.run(ORDER, async () => {
      const changes = new Changes();
      const facts = { pod: toPodSandbox(pod), container: toContainer(container) };
      for (const plugin of this.#subscribers(Event.STOP_CONTAINER)) {
        await this.#logged(plugin, 'StopContainer', async () => {
          const answer = await this.#ask(
            plugin,
            'StopContainer',
            StopContainerRequest,
            StopContainerResponse,
            facts,
          );
          if (answer !== null) changes.add(plugin.name, answer.update, []);
        });
      }
      return changes.result();
    });
  }

  async #takeIn(plugin: Plugin, runtime: PluginRuntime): Promise<ContainerChanges> {
    const { pods, containers } = runtime.state();
    const wanted = await plugin.synchronize(pods.map(toPodSandbox), containers.map(toContainer));
    const changes = new Changes();
    changes.add(plugin.name, wanted, []);
    if (plugin.isClosed || this.#runtime === null) throw new ConnectionError('it left');
    this.#plugins = [...this.#plugins, plugin].sort((a, b) => (a.name < b.name ? -1 : 1));
    const { log } = this.#options;
    log.info({ plugin: plugin.name }, 'an NRI plugin is connected');
    void plugin.closed.then((error) => {
      this.#plugins = this.#plugins.filter((each) => each !== plugin);
      if (error === null) log.info({ plugin: plugin.name }, 'an NRI plugin has left');
      else log.warn({ plugin: plugin.name, err: error }, 'an NRI plugin was dropped');
    });
    return changes.result();
  }

  async #requested(
    plugin: Plugin,
    runtime: PluginRuntime,
    { update, evict }: UpdateContainersRequest,
  ): Promise<ContainerUpdate[]> {
    const changes = new Changes();
    changes.add(plugin.name, update, evict);
    const failed = await runtime.change(changes.result());
    return failed.map(({ id, resources, ignoreFailure }) => ({
      containerId: id,
      linux: { resources: toLinuxResources(resources) },
      ignoreFailure,
    }));
  }

  /** As it is now: a plugin that is dropped meanwhile is passed over. */
  #subscribers(event: number): Plugin[] {
    return this.#plugins.filter((plugin) => !plugin.isClosed && plugin.subscribes(event));
  }

  #tell(
    event: PodEvent | ContainerEvent,
    pod: PluginPod,
    container: PluginContainer | null,
    introduce?: () => void,
  ): Promise<void> {
    return this.#order.run(ORDER, async () => {
      await this.#tellAll(event, pod, container);
      introduce?.();
    });
  }

  async #tellAll(
    event: PodEvent | ContainerEvent,
    pod: PluginPod,
    container: PluginContainer | null,
  ): Promise<void> {
    const subscribers = this.#subscribers(EVENTS[event]);
    if (subscribers.length === 0) return;
    // All of these have the pod as their first field, those of containers the container as the second.
    const message: StateChangeEvent = {
      event: EVENTS[event],
      pod: toPodSandbox(pod),
      container: container === null ? undefined : toContainer(container),
    };
    for (const plugin of subscribers) {
      const told = async (): Promise<void> => {
        await this.#ask(plugin, event, StopContainerRequest, Empty, message, message);
      };
      if (REFUSABLE.includes(event)) await told();
      else await this.#logged(plugin, event, told);
    }
  }

  async #logged(plugin: Plugin, event: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#options.log.warn({ plugin: plugin.name, err: error }, `an NRI plugin failed ${event}`);
    }
  }

  /** null from one that does not know the call, or is dropped; `older` is what it may know instead. */
  async #ask<Req, Res>(
    plugin: Plugin,
    method: string,
    request: Encoder<Req>,
    response: Decoder<Res>,
    message: Req,
    older?: StateChangeEvent,
  ): Promise<Res | null> {
    try {
      return await plugin.call(method, request, response, message);
    } catch (error) {
      if (error instanceof ConnectionError) return null;
      if (error instanceof StatusError && error.code === CODE.unimplemented) {
        if (older !== undefined)
          await this.#ask(plugin, 'StateChange', StateChangeEvent, Empty, older);
        return null;
      }
      throw new RuntimeError(
        'aborted',
        `NRI plugin ${plugin.name} refused ${method}: ${error instanceof Error ? error.message : String(error)}`,
        error,
      );
    }
  }
}

function merged(change: Resources, more: Resources | null): Resources {
  return more === null ? change : mergeResources(change, more);
}

function refuseSelf(plugin: Plugin, id: string, updates: readonly ContainerUpdate[]): void {
  if (updates.every(({ containerId }) => containerId !== id)) return;
  throw new RuntimeError(
    'aborted',
    `NRI plugin ${plugin.name} asks for an update of container ${id}, which is only being made: it must adjust it`,
  );
}
