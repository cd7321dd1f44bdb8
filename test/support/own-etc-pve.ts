/** A mount namespace with an /etc/pve of the test's own, for an agent to run in. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

// The overlay gives /etc a folder that the host need not have; its own pods stay the host's.
const MAKE = `mount -t tmpfs none "$1" && mkdir "$1/up" "$1/work" &&
  mount -t overlay -o "lowerdir=/etc,upperdir=$1/up,workdir=$1/work" none /etc &&
  mkdir -p /etc/pve && mount --bind "$2" /etc/pve && echo ready && exec sleep 600`;

export class OwnEtcPve {
  /** What is /etc/pve inside. */
  readonly folder: string;
  readonly #holder: ChildProcess;

  private constructor(folder: string, holder: ChildProcess) {
    this.folder = folder;
    this.#holder = holder;
  }

  static async make(parent: string): Promise<OwnEtcPve> {
    const folder = join(parent, 'pve');
    const scratch = join(parent, 'etc');
    for (const path of [folder, scratch]) mkdirSync(path);
    const command = ['--mount', '--propagation', 'private', 'sh', '-c', MAKE, 'sh'];
    const holder = spawn('unshare', [...command, scratch, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [first] = (await Promise.race([
      once(holder.stdout, 'data'),
      once(holder, 'exit'),
    ])) as unknown[];
    if (String(first) !== 'ready\n') throw new Error('cannot make a mount namespace');
    return new OwnEtcPve(folder, holder);
  }

  /** Goes before a command that shall run in it. */
  get wrapper(): string[] {
    return ['nsenter', `--mount=/proc/${this.#holder.pid}/ns/mnt`, `--wdns=${process.cwd()}`];
  }

  async close(): Promise<void> {
    this.#holder.kill();
    if (this.#holder.exitCode === null && this.#holder.signalCode === null) {
      await once(this.#holder, 'exit');
    }
  }
}
