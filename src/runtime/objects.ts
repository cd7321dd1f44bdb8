/** The sandboxes and containers the agent knows, in memory: found by id or unique prefix, and by name. */
import { RuntimeError } from '../core/errors.js';
import type { ContainerId, ImageId, SandboxId } from '../core/ids.js';
import type { ContainerRecord, ExitRecord, SandboxRecord } from '../core/model.js';
import type { UnreadableFile } from '../core/ports/state.js';
import { ImageUse, imagesOf } from './image-use.js';

/**
 * A container's life, derived from facts and never stored:
 *
 *   created ──start──▶ running ──exit──▶ exited
 *      └──────────────stop──────────────▶
 */
export type ContainerLife =
  | { state: 'created'; pid: number }
  | { state: 'running'; pid: number; startedAt: bigint }
  | { state: 'exited'; exit: ExitRecord };

/** `revision` grows with every change that a List or Status answer would show. */
export class Sandbox {
  record: SandboxRecord;
  /** Phase 'ready' and the pinned namespaces are really there. */
  ready: boolean;
  revision = 0;
  readonly #left = new AbortController();

  constructor(record: SandboxRecord, ready: boolean) {
    this.record = record;
    this.ready = ready;
  }

  /** Aborted when a pod that was ready is so no more. */
  get left(): AbortSignal {
    return this.#left.signal;
  }

  get id(): SandboxId {
    return this.record.id;
  }

  update(change: { record?: SandboxRecord; ready?: boolean }): void {
    this.record = change.record ?? this.record;
    this.ready = change.ready ?? this.ready;
    this.revision++;
    if (!this.ready) this.#left.abort();
  }
}

export class Container {
  record: ContainerRecord;
  life: ContainerLife;
  revision = 0;
  /** In this life of the agent: many programs take a second stop signal for "at once". */
  stopSignalled = false;
  /** Resolves when `life` has become 'exited'. */
  ended: Promise<ExitRecord>;

  constructor(record: ContainerRecord, life: ContainerLife) {
    this.record = record;
    this.life = life;
    this.ended = life.state === 'exited' ? Promise.resolve(life.exit) : never;
  }

  get id(): ContainerId {
    return this.record.id;
  }

  describe(record: ContainerRecord): void {
    this.record = record;
    this.revision++;
  }

  update(life: ContainerLife): void {
    // A late "running" must not bring a container back that has been seen to end.
    if (this.life.state === 'exited') return;
    this.life = life;
    this.revision++;
  }
}

const never = new Promise<ExitRecord>(() => undefined);

export class Objects {
  /** State files of which this version of the agent can make nothing. */
  readonly unreadable: UnreadableFile[] = [];
  readonly imageUse = new ImageUse();
  readonly #sandboxes = new Map<string, Sandbox>();
  readonly #containers = new Map<string, Container>();
  readonly #bySandbox = new Map<string, Set<Container>>();

  sandboxes(): Iterable<Sandbox> {
    return this.#sandboxes.values();
  }

  containers(): Iterable<Container> {
    return this.#containers.values();
  }

  containersOf(id: SandboxId): Container[] {
    return [...(this.#bySandbox.get(id) ?? [])];
  }

  addSandbox(sandbox: Sandbox): void {
    this.#sandboxes.set(sandbox.id, sandbox);
  }

  removeSandbox(id: SandboxId): void {
    this.#sandboxes.delete(id);
    this.#bySandbox.delete(id);
  }

  addContainer(container: Container): void {
    this.#containers.set(container.id, container);
    const siblings = this.#bySandbox.get(container.record.sandboxId) ?? new Set();
    this.#bySandbox.set(container.record.sandboxId, siblings.add(container));
  }

  removeContainer(container: Container): void {
    this.#containers.delete(container.id);
    this.#bySandbox.get(container.record.sandboxId)?.delete(container);
  }

  /** By full id or unique prefix; undefined when there is none. */
  findSandbox(id: string): Sandbox | undefined {
    return find(this.#sandboxes, 'pod sandbox', id);
  }

  findContainer(id: string): Container | undefined {
    return find(this.#containers, 'container', id);
  }

  sandbox(id: string): Sandbox {
    return this.findSandbox(id) ?? missing('pod sandbox', id);
  }

  container(id: string): Container {
    return this.findContainer(id) ?? missing('container', id);
  }

  /** Those that containers stand on, or are being made of. */
  imagesInUse(): Set<ImageId> {
    const used = [...this.#containers.values()].flatMap(({ record }) => imagesOf(record));
    return new Set([...used, ...this.imageUse.building()]);
  }

  isEmpty(): boolean {
    return this.#sandboxes.size === 0 && this.#containers.size === 0;
  }
}

function find<T>(map: ReadonlyMap<string, T>, what: string, id: string): T | undefined {
  if (id === '')
    throw new RuntimeError('invalid-argument', `${what} id is empty: it must be given`);
  const exact = map.get(id);
  if (exact !== undefined) return exact;
  if (!/^[0-9a-f]{1,63}$/.test(id)) return undefined;
  const matches = [...map.keys()].filter((key) => key.startsWith(id));
  if (matches.length > 1) {
    throw new RuntimeError(
      'invalid-argument',
      `${what} id ${JSON.stringify(id)} is ambiguous: ${matches.length} ids begin with it, give more digits`,
    );
  }
  return matches[0] === undefined ? undefined : map.get(matches[0]);
}

function missing(what: string, id: string): never {
  throw new RuntimeError('not-found', `${what} ${JSON.stringify(id.slice(0, 80))} does not exist`);
}
