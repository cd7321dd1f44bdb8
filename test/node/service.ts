/** The agent as an installed service under systemd. Only a machine that is thrown away may have it. */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { resolve } from 'node:path';
import { connectCri, type CriClient } from '../../src/cri/client.js';
import { ContainerState } from '../../src/cri/gen/container.js';
import { writeBusyboxLayout } from '../support/busybox-image.js';
import { containerRequest, podRequest, shell } from '../support/cri-requests.js';
import { patient } from '../support/patience.js';
import { until } from '../support/processes.js';
import { makeTempFolder, removeTempFolder } from '../support/temp.js';

const UNITS = ['pvecri.service', 'pvecri.socket'];
const SOCKET = '/run/pvecri/pvecri.sock';
const DROP_IN = '/etc/systemd/system/pvecri.service.d/test.conf';
/** The tests' images come from folders, by CRI. */
const SOURCES = '/etc/pvecri/config.d/test.toml';
const CNI = '/etc/cni/net.d/10-test.conflist';
const CGROUP = '/sys/fs/cgroup/pvecri';

export function systemctl(...args: string[]): string {
  return execFileSync('systemctl', args, { encoding: 'utf8' }).trim();
}

export class Service {
  readonly folder = makeTempFolder();
  readonly logs = this.folder;
  #client: CriClient | undefined;

  constructor(settings: string) {
    if (!existsSync('/etc/pvecri-test-node')) {
      throw new Error('this changes the machine: run it by scripts/node test');
    }
    rmSync('/usr/bin/pvecri', { force: true });
    symlinkSync(resolve('dist/pvecri.js'), '/usr/bin/pvecri');
    for (const unit of UNITS) cpSync(`systemd/${unit}`, `/etc/systemd/system/${unit}`);
    mkdirSync('/etc/systemd/system/pvecri.service.d', { recursive: true });
    writeFileSync(DROP_IN, settings);
    mkdirSync('/etc/pvecri/config.d', { recursive: true });
    writeFileSync(SOURCES, '[images]\nlocal_sources = ["/"]\n');
    cpSync('examples/10-pvecri.conflist', CNI);
    systemctl('daemon-reload');
    systemctl('start', 'pvecri.socket', 'pvecri.service');
  }

  get client(): CriClient {
    this.#client ??= connectCri(SOCKET, { timeoutMs: patient(30_000) });
    return this.#client;
  }

  get mainPid(): number {
    return Number(systemctl('show', '--property=MainPID', '--value', 'pvecri.service'));
  }

  /** Drops the connection, as a restart of the agent does. */
  disconnect(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  async pull(): Promise<void> {
    const reference = writeBusyboxLayout(`${this.folder}/layout`);
    const image = { image: reference, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' };
    await this.client.image.pullImage({
      image: { ...image, annotations: new Map() },
      auth: undefined,
      sandboxConfig: undefined,
    });
  }

  /** Starts a pod of one container with the limits given. */
  async run(name: string, script: string, resources = {}): Promise<[pod: string, id: string]> {
    const { runtime } = this.client;
    const request = podRequest(this, name);
    const { podSandboxId } = await runtime.runPodSandbox(request);
    const change = { linux: { resources } };
    const { containerId } = await runtime.createContainer({
      ...containerRequest(podSandboxId, name, shell(script), change),
      sandboxConfig: request.config,
    });
    await runtime.startContainer({ containerId });
    return [podSandboxId, containerId];
  }

  async status(containerId: string) {
    const { status } = await this.client.runtime.containerStatus({ containerId, verbose: false });
    if (!status) throw new Error(`no status of ${containerId}`);
    return status;
  }

  async ended(containerId: string) {
    await until(
      async () => (await this.status(containerId)).state === ContainerState.CONTAINER_EXITED,
    );
    return this.status(containerId);
  }

  /** The cgroup with a container's limits. */
  cgroupOf(pod: string, containerId: string): string {
    return `${CGROUP}/pod/${pod}/${containerId}`;
  }

  /** Pids of a container, as the host counts. */
  pids(pod: string, containerId: string): string {
    return readFileSync(`${this.cgroupOf(pod, containerId)}/lxc/cgroup.procs`, 'utf8');
  }

  /** Ends the service and takes it off the machine; answers what is left of pods. */
  close(): string[] {
    this.disconnect();
    systemctl('stop', 'pvecri.socket', 'pvecri.service');
    const left = [CGROUP].filter((path) => existsSync(path));
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    left.push(...mounts.filter((line) => /pvecri\/(containers|sandboxes|namespaces)/.test(line)));
    for (const path of [DROP_IN, SOURCES, CNI, '/usr/bin/pvecri']) rmSync(path);
    for (const unit of UNITS) rmSync(`/etc/systemd/system/${unit}`);
    for (const path of ['/var/lib/pvecri', '/run/pvecri']) {
      rmSync(path, { recursive: true, force: true });
    }
    systemctl('daemon-reload');
    removeTempFolder(this.folder);
    return left;
  }
}
