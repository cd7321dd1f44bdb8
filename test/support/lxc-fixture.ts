/** Everything a test needs to run containers with the real engine, and to leave nothing behind. */
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { parseContainerId, type ContainerId } from '../../src/core/ids.js';
import type { ContainerSpec, ProcessSpec } from '../../src/core/model.js';
import { LxcEngine } from '../../src/lxc/engine.js';
import { loadAddon } from '../../src/native/binding.js';
import { ProcessSpawner } from '../../src/native/process.js';
import { patient } from './patience.js';
import { detachedRoot, makeBusyboxRoot } from './rootfs.js';
import { makeTempFolder, removeTempFolder } from './temp.js';

/** The cgroup v2 mount: its own place on a hybrid host. */
export const CGROUP_ROOT = existsSync('/sys/fs/cgroup/cgroup.procs')
  ? '/sys/fs/cgroup'
  : '/sys/fs/cgroup/unified';

export const LIBEXEC = process.env['PVECRI_LIBEXEC'] ?? join(process.cwd(), 'build/Release');

/** Docker's default capabilities. */
export const DEFAULT_CAPABILITIES = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

export interface Overrides extends Partial<Omit<ContainerSpec, 'process'>> {
  process?: Partial<ProcessSpec>;
}

export class LxcFixture {
  readonly folder = makeTempFolder();
  readonly rootfs = join(this.folder, 'rootfs');
  readonly logs = join(this.folder, 'logs');
  readonly spawner = new ProcessSpawner(loadAddon());
  readonly engine: LxcEngine;
  /** Cgroup of all this fixture's containers. */
  readonly cgroup = `/pvecri-test-${randomBytes(4).toString('hex')}`;
  readonly specs: ContainerSpec[] = [];

  /** `libexec` is the folder of the native programs. */
  constructor(libexec = LIBEXEC) {
    this.engine = this.newEngine(libexec);
    mkdirSync(this.rootfs);
    mkdirSync(this.logs);
    makeBusyboxRoot(this.rootfs);
    for (const part of ['', '/monitors', '/shims']) mkdirSync(CGROUP_ROOT + this.cgroup + part);
  }

  newEngine(libexecDir = LIBEXEC): LxcEngine {
    return new LxcEngine({ spawner: this.spawner, libexecDir, cgroupRoot: CGROUP_ROOT });
  }

  /** A spec that runs `sh -c script`, with its folders made. */
  spec(script: string, overrides: Overrides = {}): ContainerSpec {
    const id = parseContainerId(randomBytes(32).toString('hex'));
    const directory = join(this.folder, 'state', id);
    const runDirectory = join(this.folder, 'run', id);
    mkdirSync(directory, { recursive: true });
    mkdirSync(runDirectory, { recursive: true });
    const outer = `${this.cgroup}/${id}`;
    mkdirSync(CGROUP_ROOT + outer);
    const spec: ContainerSpec = {
      id,
      directory,
      runDirectory,
      cgroup: {
        outer,
        monitor: `${this.cgroup}/monitors/${id}`,
        pivot: `${this.cgroup}/pivot`,
        shim: `${this.cgroup}/shims`,
      },
      namespaces: { network: 'new', ipc: 'new', uts: 'new', pid: 'new' },
      userNamespace: null,
      readonlyRootfs: false,
      privileged: false,
      devices: [],
      mounts: [],
      maskedPaths: ['/proc/kcore', '/proc/acpi', '/proc/keys', '/sys/firmware'],
      readonlyPaths: ['/proc/sys', '/proc/sysrq-trigger'],
      stdin: false,
      stdinOnce: false,
      logPath: join(this.logs, `${id}.log`),
      logFolder: '',
      ...overrides,
      process: {
        argv: ['/bin/sh', '-c', script],
        env: ['PATH=/bin'],
        cwd: '/',
        uid: 0,
        gid: 0,
        supplementalGroups: [],
        capabilities: DEFAULT_CAPABILITIES,
        ambientCapabilities: [],
        noNewPrivileges: false,
        seccomp: null,
        seccompFlags: 0,
        apparmorProfile: null,
        oomScoreAdj: null,
        rlimits: [],
        tty: false,
        ...overrides.process,
      },
    };
    this.specs.push(spec);
    return spec;
  }

  async create(spec: ContainerSpec): Promise<void> {
    const layers = join(this.folder, 'layers');
    const rootfs = await detachedRoot(this.spawner.addon, this.rootfs, layers);
    await this.engine.create(spec, rootfs);
  }

  async run(spec: ContainerSpec): Promise<{ pid: number }> {
    await this.create(spec);
    return this.engine.start(spec.id, spec.runDirectory);
  }

  wait(spec: ContainerSpec): ReturnType<LxcEngine['waitForExit']> {
    return this.engine.waitForExit(spec.id, spec.directory, spec.runDirectory);
  }

  /** Lines of the container's log as [stream, tag, text]. */
  log(spec: ContainerSpec): [stream: string, tag: string, text: string][] {
    return readFileSync(spec.logPath, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => {
        const [, stream = '', tag = '', ...text] = line.split(' ');
        return [stream, tag, text.join(' ')];
      });
  }

  /** What a script prints on stdout. */
  async output(script: string, overrides: Overrides = {}): Promise<string> {
    const spec = this.spec(script, overrides);
    await this.run(spec);
    await this.wait(spec);
    return this.log(spec)
      .filter(([stream]) => stream === 'stdout')
      .map(([, , text]) => text)
      .join('\n');
  }

  exec(
    spec: ContainerSpec,
    argv: string[],
    limits: { timeoutMs?: number; maxOutputBytes?: number; signal?: AbortSignal } = {},
    overrides: Partial<ProcessSpec> = {},
  ): ReturnType<LxcEngine['exec']> {
    return this.engine.exec({
      id: spec.id,
      runDirectory: spec.runDirectory,
      cgroup: spec.cgroup.outer,
      userNamespace: spec.userNamespace?.map ?? null,
      process: { ...spec.process, argv, ...overrides },
      timeoutMs: 0,
      maxOutputBytes: 1024 * 1024,
      ...limits,
    });
  }

  /** Cgroups of a container that are still there; its outer one is the caller's and not counted. */
  leftCgroups(spec: ContainerSpec): string[] {
    const below = readdirSync(CGROUP_ROOT + spec.cgroup.outer, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
    return existsSync(CGROUP_ROOT + spec.cgroup.monitor) ? [...below, 'monitor'] : below;
  }

  /** Where a container's outer cgroup is. */
  cgroupFolder(spec: ContainerSpec): string {
    return CGROUP_ROOT + spec.cgroup.outer;
  }

  /** Ends every container, waits for the shims and removes the folders. */
  async close(): Promise<void> {
    for (const spec of this.specs) {
      await this.engine.signal(spec.id, spec.runDirectory, 9);
      await this.wait(spec).catch(() => undefined);
    }
    await this.engine.close();
    this.spawner.close();
    removeCgroup(CGROUP_ROOT + this.cgroup);
    removeTempFolder(this.folder);
  }
}

/** Ends what is left in a cgroup and removes it. */
function removeCgroup(path: string): void {
  writeFileSync(join(path, 'cgroup.kill'), '1');
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroup(join(path, entry.name));
  for (let attempt = 0; ; attempt += 1) {
    try {
      rmdirSync(path);
      return;
    } catch (error) {
      // A killed process takes a moment to be gone.
      if (attempt >= patient(100)) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

export type { ContainerId };
