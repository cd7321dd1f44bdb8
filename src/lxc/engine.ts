/** The container engine: liblxc containers, each behind a shim that outlives the agent. */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type { ContainerId } from '../core/ids.js';
import type { ContainerSpec, ExitRecord } from '../core/model.js';
import type {
  AttachRequest,
  AttachSession,
  ContainerEngine,
  EngineState,
  ExecRequest,
  ExecResult,
  ExecSession,
  ExecStreamRequest,
} from '../core/ports/engine.js';
import type { OwnedFd } from '../core/ports/network.js';
import { failureOf, OPERATION, STATE, TAG, type Message } from '../core/shim-spec.js';
import type { ProcessSpawner } from '../native/process.js';
import { hasAppArmor } from './apparmor.js';
import { attachSession } from './attach.js';
import { createContainer, mountDescriptors } from './create.js';
import type { ExecContext } from './exec-helper.js';
import { execStreamInContainer } from './exec-stream.js';
import { execInContainer } from './exec.js';
import { readExitRecord, readStarted } from './exit-record.js';
import { nativeError } from './native-failure.js';
import { NativePrograms } from './native-programs.js';
import { ShimConnection } from './shim-connection.js';
import { untilDeliverable } from './signal-disposition.js';

export interface LxcEngineOptions {
  spawner: ProcessSpawner;
  /** Folder of the pvecri-* executables. */
  libexecDir: string;
  /** Mount point of cgroup v2. */
  cgroupRoot: string;
}

/** How long a payload may take from its start to its signal handlers. */
const SETTLE_MS = 1000;
/** Between attempts to reach a shim while the agent lacks what a connection needs. */
const SCARCE_MS = 1000;

/** A held connection: its end is the shim's, and until then the pidfd is of the init it keeps. */
interface Link {
  connection: ShimConnection;
  initPidfd?: Promise<number>;
}

export class LxcEngine implements ContainerEngine {
  readonly #spawner: ProcessSpawner;
  readonly #programs: NativePrograms;
  readonly #cgroupRoot: string;
  readonly #appArmor: boolean;
  readonly #links = new Map<ContainerId, Promise<Link | undefined>>();

  constructor(options: LxcEngineOptions) {
    this.#spawner = options.spawner;
    this.#programs = new NativePrograms(options.spawner.addon, options.libexecDir);
    this.#cgroupRoot = options.cgroupRoot;
    this.#appArmor = hasAppArmor();
  }

  async create(spec: ContainerSpec, rootfs: OwnedFd): Promise<void> {
    try {
      await createContainer(
        {
          spawner: this.#spawner,
          programs: this.#programs,
          cgroupRoot: this.#cgroupRoot,
          appArmor: this.#appArmor,
        },
        spec,
        rootfs,
      );
    } finally {
      for (const fd of [rootfs, ...mountDescriptors(spec)]) closeSync(fd);
    }
  }

  async start(id: ContainerId, runDirectory: string): Promise<{ startedAt: bigint; pid: number }> {
    const answer = await this.#ask(id, runDirectory, OPERATION.start);
    return { startedAt: answer.bigint(TAG.startedAt), pid: answer.number(TAG.pid) };
  }

  async signal(id: ContainerId, runDirectory: string, signal: number): Promise<void> {
    try {
      const status = await this.#ask(id, runDirectory, OPERATION.status);
      if (status.number(TAG.state) === STATE.running) {
        const startedMs = Number(status.bigint(TAG.startedAt) / 1_000_000n);
        await untilDeliverable(status.number(TAG.pid), signal, startedMs + SETTLE_MS);
      }
      await this.#ask(id, runDirectory, OPERATION.sendSignal, [[TAG.signal, signal]]);
    } catch (error) {
      // It ended meanwhile: there is nothing left to signal.
      if (!isUnavailable(error)) throw error;
    }
  }

  async reopenLog(id: ContainerId, runDirectory: string): Promise<void> {
    await this.#ask(id, runDirectory, OPERATION.reopenLog);
  }

  async inspect(id: ContainerId, directory: string, runDirectory: string): Promise<EngineState> {
    try {
      const answer = await this.#ask(id, runDirectory, OPERATION.status);
      const pid = answer.number(TAG.pid);
      return answer.number(TAG.state) === STATE.running
        ? { state: 'running', pid, startedAt: answer.bigint(TAG.startedAt) }
        : { state: 'created', pid };
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      const exit = await readExitRecord(directory);
      if (exit !== undefined) return { state: 'exited', exit };
      return { state: 'lost', startedAt: await readStarted(directory) };
    }
  }

  async waitForExit(id: ContainerId, directory: string, runDirectory: string): Promise<ExitRecord> {
    // A connection may end for other reasons than its shim; only one that can't be made again is proof.
    for (;;) {
      const link = await this.#link(id, runDirectory).catch(whenScarce);
      if (link === undefined) break;
      if (link === 'scarce') await sleep(SCARCE_MS, undefined, { ref: false });
      else await link.connection.closed;
    }
    const exit = await readExitRecord(directory);
    if (exit === undefined)
      throw new RuntimeError(
        'data-loss',
        `container ${id} is lost: its shim was killed, or the host restarted, before it could write the exit record`,
      );
    return exit;
  }

  async exec(request: ExecRequest): Promise<ExecResult> {
    return execInContainer(this.#execContext(), request, await this.#initPidfd(request));
  }

  async execStream(request: ExecStreamRequest): Promise<ExecSession> {
    return execStreamInContainer(this.#execContext(), request, await this.#initPidfd(request));
  }

  async attach(request: AttachRequest): Promise<AttachSession> {
    const { id, runDirectory, stdin } = request;
    const connection = await ShimConnection.open(runDirectory);
    if (connection === undefined)
      throw new RuntimeError('failed-precondition', `container ${id} is not running`);
    try {
      await this.#request(id, connection, OPERATION.attach, [[TAG.keepStdin, stdin ? 1 : 0]]);
    } catch (error) {
      connection.close();
      throw error;
    }
    const { socket, received } = connection.release();
    return attachSession(socket, received, request);
  }

  /** Lets go of everything; the containers go on. */
  async close(): Promise<void> {
    for (const link of await Promise.all(this.#links.values())) link?.connection.close();
    this.#programs.close();
  }

  /** Rejects with 'unavailable' when no shim answers. */
  async #ask(
    id: ContainerId,
    runDirectory: string,
    operation: number,
    numbers: readonly [tag: number, value: number][] = [],
  ): Promise<Message> {
    const connection = await ShimConnection.open(runDirectory);
    if (connection === undefined)
      throw new RuntimeError('unavailable', `container ${id} has no shim: it has ended`);
    try {
      return await this.#request(id, connection, operation, numbers);
    } finally {
      connection.close();
    }
  }

  async #request(
    id: ContainerId,
    connection: ShimConnection,
    operation: number,
    numbers: readonly [tag: number, value: number][],
  ): Promise<Message> {
    const answer = await connection.request(operation, numbers).catch((error: unknown) => {
      throw wrap(error, `container ${id}`);
    });
    const failure = failureOf(answer);
    if (failure !== undefined) throw nativeError(`container ${id}`, failure);
    return answer;
  }

  #execContext(): ExecContext {
    return {
      spawner: this.#spawner,
      programs: this.#programs,
      cgroupRoot: this.#cgroupRoot,
    };
  }

  /** One held connection per container, made when it is first wanted. */
  #link(id: ContainerId, runDirectory: string): Promise<Link | undefined> {
    const known = this.#links.get(id);
    if (known !== undefined) return known;
    const made = this.#openLink(id, runDirectory);
    this.#links.set(id, made);
    return made;
  }

  async #openLink(id: ContainerId, runDirectory: string): Promise<Link | undefined> {
    const connection = await ShimConnection.open(runDirectory).catch((error: unknown) => {
      this.#links.delete(id);
      throw error;
    });
    if (connection === undefined) {
      this.#links.delete(id);
      return undefined;
    }
    connection.unref();
    const link: Link = { connection };
    void connection.closed.then(() => {
      this.#links.delete(id);
      link.initPidfd?.then(closeSync, () => undefined);
    });
    return link;
  }

  async #initPidfd(request: { id: ContainerId; runDirectory: string }): Promise<number> {
    const notRunning = new RuntimeError(
      'failed-precondition',
      `container ${request.id} is not running`,
    );
    const link = await this.#link(request.id, request.runDirectory);
    if (link === undefined) throw notRunning;
    link.initPidfd ??= this.#openInit(link.connection, notRunning);
    try {
      return await link.initPidfd;
    } catch (error) {
      delete link.initPidfd;
      throw isUnavailable(error) ? notRunning : error;
    }
  }

  async #openInit(shim: ShimConnection, notRunning: RuntimeError): Promise<number> {
    const status = await shim.request(OPERATION.status);
    const pid = status.number(TAG.pid);
    if (status.number(TAG.state) !== STATE.running || pid === 0) throw notRunning;
    let pidfd;
    try {
      pidfd = this.#spawner.addon.pidfdOpen(pid);
    } catch (error) {
      throw hasCode(error, 'ESRCH') ? notRunning : error;
    }
    try {
      // The shim has not seen its init end, so that is what the pidfd is of, not a successor.
      if ((await shim.request(OPERATION.status)).number(TAG.pid) !== pid) throw notRunning;
      return pidfd;
    } catch (error) {
      closeSync(pidfd);
      throw error;
    }
  }
}

/** A lack of descriptors or memory is the agent's own: no reason to give up a container that runs. */
function whenScarce(error: unknown): 'scarce' {
  if (hasCode(error, 'EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN')) return 'scarce';
  throw error;
}

function isUnavailable(error: unknown): boolean {
  return error instanceof RuntimeError && error.kind === 'unavailable';
}
