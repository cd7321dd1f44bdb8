/** Debian's containerd and runc beside a test agent: private folders, the same pod network, no service. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectCri, type CriClient } from '../src/cri/client.js';
import { VersionRequest } from '../src/cri/gen/runtime.js';
import type { TestAgent } from '../test/support/agent.js';
import { busyboxImage } from '../test/support/busybox-image.js';
import { writeLayout, type BuiltImage } from '../test/support/oci-image.js';
import { commandLines } from './processes.js';

const PAUSE_IMAGE = 'example.org/pause:1';
/** How a pause process is told from a container's. */
export const PAUSE_COMMAND = ['/bin/sleep', '200000'];
const CGROUP_MOUNT = '/sys/fs/cgroup';

export class Containerd {
  readonly client: CriClient;
  /** The pods' cgroup_parent: its removal is ours. */
  readonly cgroup = `/pvecri-bench-${process.pid}`;
  readonly #folder: string;
  readonly socket: string;
  readonly #agent: TestAgent;
  /** Folders of the host that this run had to make. */
  readonly #made: string[] = [];
  #child: ChildProcess | undefined;
  #output = '';

  constructor(agent: TestAgent) {
    this.#agent = agent;
    this.#folder = join(agent.folder, 'containerd');
    this.socket = join(this.#folder, 'containerd.sock');
    this.client = connectCri(this.socket, { timeoutMs: 60_000 });
  }

  static isInstalled(): boolean {
    return ['containerd', 'ctr', 'runc'].every(
      (name) => existsSync(`/usr/bin/${name}`) || existsSync(`/usr/sbin/${name}`),
    );
  }

  static versions(): string {
    const first = (command: string) =>
      execFileSync(command, ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? '';
    return `containerd ${first('containerd').split(' ')[2]}, ${first('runc')}`;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error('containerd does not run');
    return this.#child.pid;
  }

  /** Starts it, waits until it answers, and imports the image of the pods and one for the sandboxes. */
  async start(image: string): Promise<void> {
    mkdirSync(this.#folder);
    const configFile = join(this.#folder, 'config.toml');
    writeFileSync(configFile, this.#config());
    // runc's state, the shims' sockets and the pods' namespaces have fixed places below /run: a mount
    // namespace of its own keeps them from the host, and all of its mounts end with its last process.
    const script =
      'mount -t tmpfs tmpfs /run/containerd && mount -t tmpfs tmpfs /run/netns && exec "$@"';
    for (const path of ['/run/containerd', '/run/netns'].filter((path) => !existsSync(path))) {
      mkdirSync(path);
      this.#made.push(path);
    }
    const child = spawn(
      'nsenter',
      [
        ...[`--net=${this.#agent.netns}`, 'unshare', '--mount', '--propagation', 'private'],
        ...['sh', '-c', script, 'sh', 'containerd', '--config', configFile],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    }
    await this.#untilAnswers(child);
    this.#import(image, busyboxImage());
    this.#import(PAUSE_IMAGE, busyboxImage({ Entrypoint: PAUSE_COMMAND, Cmd: [] }));
    for (const name of [image, PAUSE_IMAGE]) await this.#untilKnown(name);
  }

  async #untilAnswers(child: ChildProcess): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.client.runtime.version(VersionRequest.create(), { timeoutMs: 1000 });
        return;
      } catch (error) {
        if (child.exitCode !== null || attempt > 150) {
          throw new Error(`containerd does not answer:\n${this.#output}`, { cause: error });
        }
        await sleep(100);
      }
    }
  }

  #import(name: string, image: BuiltImage): void {
    const layout = join(this.#folder, 'layout');
    writeLayout(layout, { [name]: image });
    // Without this annotation ctr makes a name of its own from the ref.name.
    const indexFile = join(layout, 'index.json');
    const index = readFileSync(indexFile, 'utf8').replace(
      '"annotations":{',
      `"annotations":{"io.containerd.image.name":${JSON.stringify(name)},`,
    );
    writeFileSync(indexFile, index);
    const archive = join(this.#folder, 'image.tar');
    execFileSync('tar', ['-C', layout, '-cf', archive, '.']);
    execFileSync('ctr', ['-a', this.socket, '-n', 'k8s.io', 'images', 'import', archive]);
    rmSync(layout, { recursive: true });
    rmSync(archive);
  }

  /** The CRI part learns of an import by an event. */
  async #untilKnown(image: string): Promise<void> {
    const spec = {
      image,
      annotations: new Map(),
      userSpecifiedImage: '',
      runtimeHandler: '',
      imageRef: '',
    };
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const { image: found } = await this.client.image.imageStatus({ image: spec, verbose: false });
      if (found) return;
      await sleep(50);
    }
    throw new Error(`containerd has not taken in ${image}`);
  }

  /** Shims have this containerd's socket in their command lines. */
  shims(): number[] {
    return [...commandLines()]
      .filter(([, line]) => line.includes('containerd-shim') && line.includes(this.socket))
      .map(([pid]) => pid);
  }

  /** The pods are removed already, if all went well; what is left of them is ended here. */
  async close(): Promise<void> {
    this.client.close();
    for (const pid of this.shims()) process.kill(pid, 'SIGKILL');
    for (const [pid] of commandLines())
      if (inCgroup(pid, this.cgroup)) process.kill(pid, 'SIGKILL');
    const child = this.#child;
    if (child?.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    await sleep(200);
    for (const path of cgroupFolders(this.cgroup)) removeCgroups(path);
    for (const path of this.#made) rmdirSync(path);
  }

  #config(): string {
    const cri = 'plugins."io.containerd.grpc.v1.cri"';
    return `version = 2
root = "${join(this.#folder, 'root')}"
state = "${join(this.#folder, 'state')}"
[grpc]
address = "${this.socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "${join(this.#folder, 'opt')}"
[${cri}]
sandbox_image = "${PAUSE_IMAGE}"
disable_apparmor = true
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[${cri}.containerd]
snapshotter = "overlayfs"
[${cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${this.#agent.confDir}"
`;
  }
}

function inCgroup(pid: number, path: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(path);
  } catch {
    return false; // gone
  }
}

/** In the one hierarchy of a cgroup v2 host, or in each of a hybrid one. */
function cgroupFolders(path: string): string[] {
  return [CGROUP_MOUNT, ...readdirSync(CGROUP_MOUNT).map((name) => join(CGROUP_MOUNT, name))]
    .map((mount) => join(mount, path))
    .filter((folder) => existsSync(folder));
}

function removeCgroups(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroups(join(folder, entry.name));
  }
  rmdirSync(folder);
}
