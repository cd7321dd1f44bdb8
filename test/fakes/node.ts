/**
 * A node in memory: every port of core/ports/ over plain maps, with failures on demand. What is
 * left in `node.left()` after a verb is what the verb left behind.
 */
import { PassThrough } from 'node:stream';
import { CgroupLayouts } from '../../src/core/cgroup-layout.js';
import type { ContainerId, SandboxId } from '../../src/core/ids.js';
import type { Logger } from '../../src/core/logger.js';
import type {
  ContainerRecord,
  ContainerSpec,
  ExitRecord,
  ImageRecord,
  SandboxRecord,
} from '../../src/core/model.js';
import type { CgroupStats } from '../../src/core/ports/cgroup.js';
import type {
  AttachRequest,
  EngineState,
  ExecResult,
  ExecStreamRequest,
} from '../../src/core/ports/engine.js';
import type { InterfaceReading } from '../../src/core/ports/network.js';
import type { RuntimeContext } from '../../src/runtime/context.js';
import { Objects } from '../../src/runtime/objects.js';
import { RuntimeError } from '../../src/core/errors.js';
import type { SeccompProfile } from '../../src/core/seccomp-rules.js';
import { KeyedMutex } from '../../src/util/keyed-mutex.js';
import { FakeSession } from './session.js';

export interface FakeShim {
  spec: ContainerSpec;
  state: 'created' | 'running' | 'exited' | 'killed';
  exit: ExitRecord | undefined;
  ended: Promise<void>;
  end: () => void;
}

export class FakeNode {
  readonly sandboxRecords = new Map<string, SandboxRecord>();
  readonly containerRecords = new Map<string, ContainerRecord>();
  readonly pinned = new Map<string, Set<string>>();
  readonly attached = new Set<string>();
  readonly rootfs = new Set<string>();
  readonly sharedMemory = new Set<string>();
  readonly runDirectories = new Set<string>();
  readonly openFds = new Set<number>();
  readonly cgroups = new Set<string>();
  readonly shims = new Map<string, FakeShim>();
  readonly podInits = new Map<string, { ended: Promise<void>; end: () => void }>();
  readonly images = new Map<string, ImageRecord>();
  readonly stats = new Map<string, CgroupStats>();
  readonly interfaces = new Map<string, InterfaceReading>();
  readonly connections: { place: string; port: number; connection: PassThrough }[] = [];
  readonly settings = new Map<string, string>();
  readonly files = new Map<string, string>();
  /** Of the host, as an administrator puts them there. */
  readonly hostFiles = new Map<string, string>();
  readonly containerFiles = new Map<string, Uint8Array>();
  readonly compiled: SeccompProfile[] = [];
  /** null without AppArmor. */
  appArmorProfiles: Set<string> | null = null;
  readonly calls: string[] = [];
  readonly logged: string[] = [];
  readonly execs: { request: ExecStreamRequest; session: FakeSession }[] = [];
  readonly attachments: { request: AttachRequest; session: FakeSession }[] = [];
  readonly signals: [id: string, signal: number][] = [];
  /** Port calls by name (`network.attach`) that fail, with what they throw. */
  readonly failures = new Map<string, Error>();
  /** Called before each port call: a test may end the agent's life here by throwing. */
  beforeCall: (name: string) => void = () => undefined;
  ips = ['10.0.0.2'];
  missingFolders = new Set<string>();
  passwd: string | null = 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n';
  clock = 1_000_000_000n;
  bootId = 'boot-1';
  #nextFd = 100;
  #nextId = 1;

  /** A new life of the agent on the same node. */
  context(): RuntimeContext {
    return {
      ...this.#ports(),
      log: this.#log(),
      plugins: null,
      host: {
        bootId: this.bootId,
        now: () => (this.clock += 1_000_000n),
        newId: () => (this.#nextId++).toString(16).padStart(64, '0'),
        kernel: '6.12.0-test',
        compileSeccomp: (profile) => {
          this.compiled.push(profile);
          return Buffer.from(`filter ${this.compiled.length}`);
        },
        readHostFile: (what, path) => {
          const text = this.hostFiles.get(path);
          return text === undefined
            ? Promise.reject(new RuntimeError('not-found', `${what} ${path} does not exist`))
            : Promise.resolve(Buffer.from(text));
        },
        appArmor: {
          enabled: this.appArmorProfiles !== null,
          isLoaded: (profile) => Promise.resolve(this.appArmorProfiles?.has(profile) ?? false),
          loadDefault: () => this.#call('appArmor.loadDefault', () => undefined),
        },
        readFileBelow: (_fd, path) =>
          path === '/etc/passwd' && this.passwd !== null ? Buffer.from(this.passwd) : null,
        userNamespaces: true,
        openNamespace: () => {
          const fd = this.#nextFd++;
          this.openFds.add(fd);
          return fd;
        },
        closeFd: (fd) => this.openFds.delete(fd),
        hostname: () => 'node',
        readTextFile: (path) => Promise.resolve(`${path} of the host\n`),
        findDevices: () => Promise.resolve([]),
        findCdiDevices: () => Promise.reject(new Error('no CDI devices here')),
        requireExisting: () => Promise.resolve(),
        runHook: () => Promise.resolve(),
        ensureMountSource: () => Promise.resolve(() => Promise.resolve()),
        requireFolder: (what, path) =>
          this.missingFolders.has(path)
            ? Promise.reject(new Error(`${what} ${path} does not exist`))
            : Promise.resolve(),
      },
      imageVerifier: { verify: () => Promise.reject(new Error('no registry here')) },
      layouts: new CgroupLayouts('cgroupfs', 'pvecri'),
      objects: new Objects(),
      locks: new KeyedMutex(),
      pending: new Map(),
    };
  }

  /** Names of everything that exists on the node apart from images. */
  left(): string[] {
    return [
      ...[...this.sandboxRecords.keys()].map((id) => `sandbox record ${id}`),
      ...[...this.containerRecords.keys()].map((id) => `container record ${id}`),
      ...[...this.pinned.keys()].map((id) => `namespaces ${id}`),
      ...[...this.attached].map((id) => `network ${id}`),
      ...[...this.rootfs].map((id) => `rootfs ${id}`),
      ...[...this.sharedMemory].map((id) => `shared memory ${id}`),
      ...[...this.runDirectories].map((id) => `run directory ${id}`),
      ...[...this.openFds].map((fd) => `descriptor ${fd}`),
      ...[...this.cgroups].filter((path) => /[0-9a-f]{64}/.test(path)),
      ...[...this.podInits.keys()].map((path) => `pod init ${path}`),
      ...[...this.shims]
        .filter(([, s]) => s.exit === undefined && s.state !== 'killed')
        .map(([id]) => `shim ${id}`),
    ];
  }

  addImage(
    name: string,
    config: Partial<ImageRecord['config']> = {},
    rest: Partial<ImageRecord> = {},
  ): ImageRecord {
    const image: ImageRecord = {
      version: 1,
      id: `sha256:${'ab'.repeat(32)}` as ImageRecord['id'],
      repoTags: [name],
      repoDigests: [],
      size: 1,
      layers: [],
      createdAt: '',
      pulledAt: '0',
      config: {
        user: '',
        env: [],
        entrypoint: [],
        cmd: ['/bin/sh'],
        workingDir: '',
        volumes: [],
        stopSignal: '',
        labels: [],
        ...config,
      },
      ...rest,
    };
    this.images.set(name, image);
    return image;
  }

  /** The payload ends by itself. */
  exit(id: string, exitCode: number, signal = 0): void {
    const shim = this.#shim(id);
    shim.exit = {
      exitCode,
      signal,
      startedAt: shim.state === 'running' ? 5n : 0n,
      finishedAt: 9n,
      oomKilled: false,
      message: '',
    };
    shim.state = 'exited';
    shim.end();
  }

  /** kill -9 of the shim: no exit record. */
  killShim(id: string): void {
    const shim = this.#shim(id);
    shim.state = 'killed';
    shim.end();
  }

  #shim(id: string): FakeShim {
    const shim = this.shims.get(id);
    if (!shim) throw new Error(`no shim ${id}`);
    return shim;
  }

  async #call<T>(name: string, work: () => T): Promise<T> {
    this.calls.push(name);
    await Promise.resolve();
    this.beforeCall(name);
    const failure = this.failures.get(name);
    if (failure) throw failure;
    return work();
  }

  #ports(): Pick<
    RuntimeContext,
    | 'store'
    | 'folders'
    | 'namespaces'
    | 'podInit'
    | 'network'
    | 'rootfs'
    | 'sharedMemory'
    | 'images'
    | 'engine'
    | 'cgroups'
  > {
    const call = <T>(name: string, work: () => T): Promise<T> => this.#call(name, work);
    return {
      store: {
        saveSandbox: (record) =>
          call('store.saveSandbox', () => {
            this.sandboxRecords.set(record.id, structuredClone(record));
          }),
        removeSandbox: (id) =>
          call('store.removeSandbox', () => {
            this.sandboxRecords.delete(id);
          }),
        saveContainer: (record) =>
          call('store.saveContainer', () => {
            this.containerRecords.set(record.id, structuredClone(record));
          }),
        removeContainer: (id) =>
          call('store.removeContainer', () => {
            this.containerRecords.delete(id);
          }),
        load: () =>
          Promise.resolve({
            sandboxes: [...this.sandboxRecords.values()].map((r) => structuredClone(r)),
            containers: [...this.containerRecords.values()].map((r) => structuredClone(r)),
            unreadable: [],
          }),
      },
      folders: {
        containerDirectory: (id) => `/root/containers/${id}`,
        containerRunDirectory: (id) => `/run/containers/${id}`,
        makeContainer: (id) =>
          call('folders.makeContainer', () => {
            this.runDirectories.add(id);
          }),
        writeContainerFile: (id, name, content) =>
          call('folders.writeContainerFile', () => {
            this.containerFiles.set(`${id}/${name}`, content);
          }),
        readContainerFile: (id, name) => {
          const content = this.containerFiles.get(`${id}/${name}`);
          return content ? Promise.resolve(content) : Promise.reject(new Error(`no ${name}`));
        },
        removeContainerRun: (id) =>
          call('folders.removeContainerRun', () => {
            this.runDirectories.delete(id);
          }),
        writeSandboxFile: (id, name, content) =>
          call('folders.writeSandboxFile', () => {
            this.files.set(`${id}/${name}`, content);
            return `/run/sandboxes/${id}/${name}`;
          }),
        sandboxFiles: (id) =>
          Promise.resolve(
            [...this.files.keys()]
              .filter((key) => key.startsWith(`${id}/`))
              .map((key) => key.slice(id.length + 1)),
          ),
        sandboxFile: (id, name) => `/run/sandboxes/${id}/${name}`,
        removeSandboxFiles: (id) =>
          call('folders.removeSandboxFiles', () => {
            for (const key of this.files.keys()) if (key.startsWith(id)) this.files.delete(key);
          }),
      },
      sharedMemory: {
        mount: (id) =>
          call('sharedMemory.mount', () => {
            this.sharedMemory.add(id);
          }),
        path: (id) => `/run/shm/${id}`,
        unmount: (id) =>
          call('sharedMemory.unmount', () => {
            this.sharedMemory.delete(id);
          }),
        list: () => Promise.resolve([...this.sharedMemory] as SandboxId[]),
      },
      namespaces: {
        pin: (id, wanted) =>
          call('namespaces.pin', () => {
            this.pinned.set(id, new Set(wanted.kinds));
          }),
        path: (id, kind) => `/run/ns/${id}/${kind}`,
        isPinned: (id, kinds) =>
          Promise.resolve(kinds.every((kind) => this.pinned.get(id)?.has(kind))),
        unpin: (id) =>
          call('namespaces.unpin', () => {
            this.pinned.delete(id);
          }),
        interfaces: (ids) =>
          Promise.resolve(
            new Map(
              ids.flatMap((id) => {
                const reading = this.interfaces.get(id);
                return reading ? [[id, reading] as const] : [];
              }),
            ),
          ),
        connect: (id, port) =>
          call('namespaces.connect', () => {
            const connection = new PassThrough();
            this.connections.push({ place: id ?? 'host', port, connection });
            return connection;
          }),
        list: () => Promise.resolve([...this.pinned.keys()] as SandboxId[]),
      },
      podInit: {
        start: (id, cgroup) =>
          call('podInit.start', () => {
            let end: () => void = () => undefined;
            const ended = new Promise<void>((resolve) => (end = resolve));
            this.podInits.set(cgroup, { ended, end });
            this.pinned.set(id, (this.pinned.get(id) ?? new Set()).add('pid'));
          }),
        isAlive: (cgroup) => Promise.resolve(this.podInits.has(cgroup)),
        ended: (cgroup) => this.podInits.get(cgroup)?.ended ?? Promise.resolve(),
      },
      network: {
        status: () => Promise.resolve({ ready: true, reason: '', message: '' }),
        attach: ({ id }) =>
          call('network.attach', () => {
            this.attached.add(id);
            return { ips: this.ips };
          }),
        detach: (id) =>
          call('network.detach', () => {
            this.attached.delete(id);
          }),
        list: () => Promise.resolve({ ids: [...this.attached] as SandboxId[], unreadable: [] }),
      },
      rootfs: {
        prepare: (id) =>
          call('rootfs.prepare', () => {
            this.rootfs.add(id);
          }),
        mount: () =>
          call('rootfs.mount', () => {
            const fd = this.#nextFd++;
            this.openFds.add(fd);
            return fd;
          }),
        mountImage: () =>
          call('rootfs.mountImage', () => {
            const fd = this.#nextFd++;
            this.openFds.add(fd);
            return fd;
          }),
        usage: () => Promise.resolve({ usedBytes: 1, inodesUsed: 1, timestamp: 1n }),
        remove: (id) =>
          call('rootfs.remove', () => {
            this.rootfs.delete(id);
          }),
        list: () => Promise.resolve([...this.rootfs] as ContainerId[]),
        mountpoint: () => '/',
      },
      images: {
        pull: () => Promise.reject(new Error('no registry here')),
        pullsUnderWay: () => [],
        push: () => Promise.reject(new Error('no registry here')),
        tag: () => Promise.reject(new Error('no names here')),
        save: () => {
          throw new Error('no blobs here');
        },
        load: () => Promise.reject(new Error('no blobs here')),
        details: () => Promise.reject(new Error('no blobs here')),
        find: (reference) => this.images.get(reference),
        list: () => [...this.images.values()],
        startCollecting: () => call('images.startCollecting', () => undefined),
        check: ({ depth }) =>
          call('images.check', () => ({ depth, images: 0, blobs: 0, layers: 0, findings: [] })),
        dueCheck: () => null,
        unreadable: () => [],
        mountArtifact: () =>
          call('images.mountArtifact', () => {
            const fd = this.#nextFd++;
            this.openFds.add(fd);
            return fd;
          }),
        remove: (id) =>
          call('images.remove', () => {
            let freed = 0;
            for (const [name, image] of this.images) {
              if (image.id !== id) continue;
              this.images.delete(name);
              freed = image.size;
            }
            return freed;
          }),
        usage: () =>
          Promise.resolve({ mountpoint: '/', usedBytes: 1, inodesUsed: 1, timestamp: 1n }),
      },
      engine: {
        create: (spec, rootfs) =>
          call('engine.create', () => {
            let end: () => void = () => undefined;
            const ended = new Promise<void>((resolve) => (end = resolve));
            this.shims.set(spec.id, { spec, state: 'created', exit: undefined, ended, end });
          }).finally(() => {
            const mounted = spec.mounts.flatMap((mount) => mount.mounted ?? []);
            for (const fd of [rootfs, ...mounted]) this.openFds.delete(fd);
          }),
        start: (id) =>
          call('engine.start', () => {
            this.#shim(id).state = 'running';
            return { startedAt: 5n, pid: 4242 };
          }),
        signal: (id, _runDirectory, signal) =>
          call('engine.signal', () => {
            this.signals.push([id, signal]);
          }),
        reopenLog: () => Promise.resolve(),
        inspect: (id): Promise<EngineState> => {
          const shim = this.shims.get(id);
          if (!shim || shim.state === 'killed')
            return Promise.resolve({ state: 'lost', startedAt: 5n });
          if (shim.exit) return Promise.resolve({ state: 'exited', exit: shim.exit });
          return Promise.resolve(
            shim.state === 'running'
              ? { state: 'running', pid: 4242, startedAt: 5n }
              : { state: 'created', pid: 4242 },
          );
        },
        waitForExit: async (id) => {
          const shim = this.#shim(id);
          await shim.ended;
          if (shim.exit) return shim.exit;
          throw new Error('shim was killed');
        },
        exec: (): Promise<ExecResult> =>
          call('engine.exec', () => ({
            exitCode: 0,
            stdout: new Uint8Array(),
            stderr: new Uint8Array(),
          })),
        execStream: (request) =>
          call('engine.execStream', () => {
            const session = new FakeSession(request.stdin, request.process.tty);
            this.execs.push({ request, session });
            return session;
          }),
        attach: (request) =>
          call('engine.attach', () => {
            const session = new FakeSession(request.stdin, request.tty);
            this.attachments.push({ request, session });
            return session;
          }),
      },
      cgroups: {
        controllers: new Set(['cpu', 'memory']),
        make: (path, settings = []) =>
          call('cgroups.make', () => {
            this.cgroups.add(path);
            for (const { file, value } of settings) this.settings.set(`${path}/${file}`, value);
          }),
        configure: (path, settings) =>
          call('cgroups.configure', () => {
            for (const { file, value } of settings) this.settings.set(`${path}/${file}`, value);
          }),
        plan: (changes) =>
          call('cgroups.plan', () => ({
            writes: changes.map(({ path, file, value }) => ({ path, file, value })),
            undo: changes
              .map(({ path, file }) => ({
                path,
                file,
                value: this.settings.get(`${path}/${file}`) ?? 'max',
              }))
              .reverse(),
          })),
        write: async (writes) => {
          for (const { path, file, value } of writes) {
            await call(`cgroups.write ${file} ${value}`, () => {
              this.settings.set(`${path}/${file}`, value);
            });
          }
        },
        kill: (path) =>
          call('cgroups.kill', () => {
            this.podInits.get(path)?.end();
            this.podInits.delete(path);
            const id = path.slice(path.lastIndexOf('/') + 1);
            const shim = this.shims.get(id);
            if (shim && shim.exit === undefined && shim.state !== 'killed') this.exit(id, 137, 9);
          }),
        remove: (path) =>
          call('cgroups.remove', () => {
            for (const each of this.cgroups) {
              if (each === path || each.startsWith(`${path}/`)) this.cgroups.delete(each);
            }
          }),
        expectMoves: () => Promise.resolve(),
        children: (path) =>
          Promise.resolve(
            [...this.cgroups]
              .filter((each) => each.startsWith(`${path}/`))
              .map((each) => each.slice(path.length + 1).split('/')[0] ?? ''),
          ),
        watch: () => undefined,
        unwatch: () => undefined,
        stats: () => Promise.resolve(this.stats),
      },
    };
  }

  #log(): Logger {
    const at =
      (level: string) =>
      (_fields: object, message: string): void => {
        this.logged.push(`${level}: ${message}`);
      };
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  }
}
