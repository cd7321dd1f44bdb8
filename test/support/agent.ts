/**
 * A real agent in a process of its own, with folders, cgroups and a network namespace of its own, so
 * that several tests can run one and each can see that nothing is left of it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHash } from 'node:crypto';
import { connectCri, type CriClient } from '../../src/cri/client.js';
import { VersionRequest } from '../../src/cri/gen/runtime.js';
import { writeBusyboxLayout } from './busybox-image.js';
import {
  inNetworkNamespace,
  pinNetworkNamespace,
  unpinNetworkNamespace,
} from './network-namespace.js';
import { patient } from './patience.js';
import { makeTempFolder, removeTempFolder } from './temp.js';

export const CGROUP_ROOT = existsSync('/sys/fs/cgroup/cgroup.procs')
  ? '/sys/fs/cgroup'
  : '/sys/fs/cgroup/unified';
/** What the agent and host-local keep in their folders for good. */
const OWN_FILES = /^(\.trash|\.empty|lock|last_reserved_ip\.0)$/;
/** What an agent allows nobody by itself: images from folders, here the tests' own, by CRI. */
export const LOCAL_SOURCES = 'local_sources = ["/"]';
/** The command as it is installed: `npm run test:integration` bundles it first. */
const COMMAND = ['dist/pvecri.js'];

export class TestAgent {
  readonly folder: string;
  readonly root: string;
  readonly state: string;
  readonly socket: string;
  readonly configFile: string;
  readonly logs: string;
  readonly confDir: string;
  /** CNI plugins of a test's own. */
  readonly binDir: string;
  /** Stands for the host's network; bridges and leases of the test stay in it. */
  readonly netns: string;
  readonly cgroup: string;
  /** The same under the systemd cgroup driver, with what systemd calls it. */
  readonly slice: string;
  #child: ChildProcess | undefined;
  #client: CriClient | undefined;
  /** All that the agents of this folder have logged. */
  output = '';
  /** What the agents find in their environment beside the test's own. */
  readonly env: Record<string, string> = {};
  /** What the agents are started by, that it may change their surroundings. */
  wrapper: readonly string[] = [];

  /** `parent` is where its folder is made, instead of /tmp. */
  constructor(extraConfig = '', logLevel = 'debug', parent?: string) {
    this.folder = makeTempFolder(parent);
    this.root = join(this.folder, 'root');
    this.state = join(this.folder, 'state');
    this.socket = join(this.folder, 'cri.sock');
    this.configFile = join(this.folder, 'config.toml');
    this.logs = join(this.folder, 'logs');
    this.confDir = join(this.folder, 'net.d');
    this.binDir = join(this.folder, 'bin');
    this.netns = join(this.folder, 'netns');
    const hash = createHash('sha256').update(this.root).digest('hex');
    this.cgroup = `/pvecri-${hash.slice(0, 12)}`;
    this.slice = `${this.cgroup.slice(1).replace('-', '_')}.slice`;
    for (const folder of [this.logs, this.confDir, this.binDir]) mkdirSync(folder);
    pinNetworkNamespace(this.netns);
    writeFileSync(
      this.configFile,
      `root = "${this.root}"\nstate = "${this.state}"\nsocket = "${this.socket}"\n` +
        `[network]\nconf_dir = "${this.confDir}"\nbin_dirs = ["${this.binDir}", "/usr/lib/cni"]\n[log]\nlevel = "${logLevel}"\n${withLocalSources(extraConfig)}`,
    );
    writeFileSync(join(this.confDir, '10-test.conflist'), JSON.stringify(this.#conflist()));
  }

  get client(): CriClient {
    this.#client ??= connectCri(this.socket, { timeoutMs: patient(30_000) });
    return this.#client;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('the agent does not run');
    return pid;
  }

  /** Starts the agent and waits until it answers. */
  async start(): Promise<void> {
    const child = this.launch();
    this.#child = child;
    // Not by the client: a gRPC channel waits for a second after a failed attempt.
    for (let i = 0; i < 1500 && !(await this.#listens()) && child.exitCode === null; i++)
      await sleep(10);
    for (let attempt = 0; ; attempt++) {
      try {
        await this.client.runtime.version(VersionRequest.create(), { timeoutMs: patient(1000) });
        await this.client.runtime.status({ verbose: false }, { timeoutMs: patient(1000) });
        return;
      } catch (error) {
        if (child.exitCode !== null || attempt > patient(150)) {
          throw new Error(`the agent does not answer:\n${this.output}`, { cause: error });
        }
        await sleep(100);
      }
    }
  }

  /** Spawns an agent without waiting for it: exec'd directly, so that its pid is the agent's. */
  launch(configFile = this.configFile, wrapper = this.wrapper): ChildProcess {
    const command = [process.execPath, ...COMMAND, 'agent', '--config', configFile];
    const child = spawn('nsenter', [`--net=${this.netns}`, ...wrapper, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.env },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    }
    return child;
  }

  /** Runs the agent's command to its end. */
  async run(...args: string[]): Promise<{ code: number | null; output: string }> {
    const child = spawn(process.execPath, [...COMMAND, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    }
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, output };
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const child = this.#child;
    this.#child = undefined;
    this.#client?.close();
    this.#client = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) {
      return child?.exitCode ?? null;
    }
    child.kill(signal);
    const [code] = (await once(child, 'exit')) as [number | null];
    return code;
  }

  /** Stops the agent and removes its folders; answers what was left that should not have been. */
  async close(): Promise<string[]> {
    await this.stop();
    const left = this.left();
    unpinNetworkNamespace(this.netns);
    removeTempFolder(this.folder);
    return left;
  }

  /** Mounts, processes, cgroups, interfaces and records that stand for pods or containers. */
  left(): string[] {
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(`${this.folder}/`) && !line.includes(this.netns));
    const cgroups = [this.cgroup, this.slice]
      .filter((path) => existsSync(join(CGROUP_ROOT, path)))
      .map((path) => `cgroup ${path}`);
    const links = inNetworkNamespace(this.netns, 'ip', '-o', 'link')
      .split('\n')
      .filter((line) => line.includes('veth'));
    const folders = [
      'root/sandboxes',
      'root/containers',
      'root/networks',
      'root/rootfs',
      'root/rootfs/.trash',
      'root/images/tmp',
      'state/containers',
      'state/sandboxes',
      'state/namespaces',
      'state/shm',
      'leases/test',
    ].flatMap((path) => {
      const folder = join(this.folder, path);
      const names = existsSync(folder) ? readdirSync(folder) : [];
      return names.filter((name) => !OWN_FILES.test(name)).map((name) => `${path}/${name}`);
    });
    return [...mounts, ...cgroups, ...links, ...folders, ...this.#processes()];
  }

  /** Writes a busybox image and returns the reference to pull. */
  busyboxReference(config: Record<string, unknown> = {}): string {
    return writeBusyboxLayout(join(this.folder, 'layout'), config);
  }

  readLog(name: string): string {
    return readFileSync(join(this.logs, name), 'utf8');
  }

  async #listens(): Promise<boolean> {
    const socket = connect(this.socket);
    try {
      await once(socket, 'connect');
      return true;
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  }

  #processes(): string[] {
    return readdirSync('/proc').flatMap((pid) => {
      try {
        const cgroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
        if (!cgroup.includes(this.cgroup) && !cgroup.includes(this.slice)) return [];
        // The shims of a killed agent are init's children: a dead one waits for init alone.
        const state = /\) (.)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return state === 'Z' ? [] : [`process ${pid} ${line}`];
      } catch {
        return [];
      }
    });
  }

  #conflist(): object {
    return {
      cniVersion: '1.0.0',
      name: 'test',
      plugins: [
        {
          type: 'bridge',
          bridge: 'test0',
          isGateway: true,
          ipam: {
            type: 'host-local',
            dataDir: join(this.folder, 'leases'),
            ranges: [[{ subnet: '10.99.0.0/24' }]],
            routes: [{ dst: '0.0.0.0/0' }],
          },
        },
      ],
    };
  }
}

/** A table may be written once only. */
function withLocalSources(config: string): string {
  const table = '[images]\n';
  return config.includes(table)
    ? config.replace(table, `${table}${LOCAL_SOURCES}\n`)
    : `${config}\n${table}${LOCAL_SOURCES}\n`;
}
