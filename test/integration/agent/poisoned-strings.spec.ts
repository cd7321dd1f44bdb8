/**
 * Newline, NUL, escape and DEL in every string of RunPodSandbox and CreateContainer: refused by the
 * field's name, with nothing left behind, or passed on byte for byte where that is harmless.
 */
import assert from 'node:assert/strict';
import { RuntimeError } from '../../../src/core/errors.js';
import { CreateContainerRequest, type ContainerStatus } from '../../../src/cri/gen/container.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { RunPodSandboxRequest, type PodSandboxStatus } from '../../../src/cri/gen/sandbox.js';
import { SecurityProfile_ProfileType as ProfileType } from '../../../src/cri/gen/security.js';
import { TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';

type Path = readonly (string | number)[];

const POISONS = { newline: 'a\nb', NUL: 'a\0b', escape: 'a\u001bb', DEL: 'a\u007fb' };

/** Where every character is the caller's own, and where each may be seen again. */
const HARMLESS: [
  path: RegExp,
  seen: (status: Partial<ContainerStatus & PodSandboxStatus>) => unknown,
][] = [
  [
    /^config\.(labels|annotations)\./,
    ({ labels = [], annotations = [] }) => [...labels, ...annotations],
  ],
  [/^config\.image\.userSpecifiedImage$/, ({ image }) => image?.userSpecifiedImage],
];
/** What reaches execve alone: all but NUL. */
const TO_EXECVE = /^config\.(command|args|envs)\./;
/** Read by nobody: a pod has no process to confine, there is no SELinux, no profile of a file, no target, nor what newer fields supersede. */
const UNREAD =
  /(image\.(runtimeHandler|imageRef)|targetId|imageSubPath|localhostRef)$|selinuxOptions|(seccompProfilePath|apparmorProfile)$/;

describe('poisoned strings', function () {
  this.timeout(300_000);
  let agent: TestAgent;
  let pod: string;

  before(async () => {
    agent = new TestAgent('', 'info');
    await agent.start();
    const image = {
      image: agent.busyboxReference(),
      annotations: new Map<string, string>(),
      userSpecifiedImage: '',
      runtimeHandler: '',
      imageRef: '',
    };
    await agent.client.image.pullImage({ image, auth: undefined, sandboxConfig: undefined });
    const request = podRequest(agent, 'pod', {}, NamespaceMode.NODE);
    pod = (await agent.client.runtime.runPodSandbox(request)).podSandboxId;
  });

  after(async () => {
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(await agent.close(), []);
  });

  const profile = { profileType: ProfileType.RuntimeDefault, localhostRef: '' };
  const selinux = { user: '', role: '', type: '', level: '' };
  /** With one of everything that holds a string. */
  const fullPod = () =>
    RunPodSandboxRequest.create(
      podRequest(agent, 'poisoned', {
        dnsConfig: { servers: ['10.0.0.10'], searches: ['svc.local'], options: ['ndots:5'] },
        portMappings: [{ containerPort: 80, hostIp: '' }],
        annotations: new Map([['note', 'x']]),
        linux: {
          cgroupParent: '',
          sysctls: new Map([['net.ipv4.ip_forward', '1']]),
          securityContext: {
            selinuxOptions: selinux,
            seccomp: profile,
            apparmor: profile,
            namespaceOptions: { pid: NamespaceMode.CONTAINER, targetId: '' },
          },
        },
      }),
    );
  const fullContainer = () =>
    CreateContainerRequest.create(
      containerRequest(pod, 'poisoned', shell('true'), {
        args: ['x'],
        workingDir: '/tmp',
        envs: [{ key: 'KEY', value: Buffer.from('value') }],
        labels: new Map([['label', 'x']]),
        annotations: new Map([['note', 'x']]),
        mounts: [{ containerPath: '/mnt', hostPath: '/tmp', imageSubPath: '' }],
        devices: [{ containerPath: '/dev/x', hostPath: '/dev/null', permissions: 'rw' }],
        CDIDevices: [],
        linux: {
          resources: { cpusetCpus: '', cpusetMems: '', hugepageLimits: [], unified: new Map() },
          securityContext: {
            capabilities: {
              addCapabilities: ['NET_RAW'],
              dropCapabilities: ['CHOWN'],
              addAmbientCapabilities: ['NET_RAW'],
            },
            selinuxOptions: selinux,
            seccomp: profile,
            apparmor: profile,
            runAsUsername: '',
            maskedPaths: ['/proc/x'],
            readonlyPaths: ['/proc/x'],
            namespaceOptions: { pid: NamespaceMode.CONTAINER, targetId: '' },
          },
        },
      }),
    );

  /** What stands for pods and containers; the shim of the container before may still be ending. */
  const left = () =>
    agent
      .left()
      .filter((line) => !line.startsWith('process '))
      .sort();

  /** Refused by the name of the field, or seen again byte for byte; and then nothing is left. */
  const check = async (path: Path, poison: string, call: Call) => {
    const where = path.join('.');
    const before = left();
    const harmless = HARMLESS.find(([paths]) => paths.test(where));
    const accepted =
      harmless ?? (TO_EXECVE.test(where) ? !poison.includes('\0') : UNREAD.test(where));
    try {
      const status = await call.make();
      assert.ok(accepted, 'it was accepted');
      const seen = harmless?.[1](status);
      if (harmless) assert.ok([seen].flat(3).includes(poison), `seen as ${JSON.stringify(seen)}`);
      await call.remove();
    } catch (error) {
      await call.remove().catch(() => undefined);
      assert.ok(error instanceof RuntimeError && !accepted, `${where}: ${String(error)}`);
      const kind = where === 'runtimeHandler' ? 'not-found' : 'invalid-argument';
      assert.equal(error.kind, kind, `${where}: ${error.message}`);
      assert.match(error.message, nameOf(path), where);
      // JSON leaves DEL alone; the log does not.
      const isEscaped = poison === POISONS.DEL || !error.message.includes(poison);
      assert.ok(isEscaped, `${where}: the message holds it as it is`);
    }
    assert.deepEqual(left(), before, where);
  };

  for (const [name, poison] of Object.entries(POISONS)) {
    it(`${name} in each string of RunPodSandbox`, async () => {
      const paths = [...stringsOf(fullPod(), [])];
      assert.ok(paths.length > 20);
      for (const path of paths) {
        const request = fullPod();
        poisonAt(request, path, poison);
        let podSandboxId = '';
        const { runtime } = agent.client;
        await check(path, poison, {
          make: async () => {
            ({ podSandboxId } = await runtime.runPodSandbox(request));
            const { status } = await runtime.podSandboxStatus({ podSandboxId, verbose: false });
            return status ?? {};
          },
          remove: () => runtime.removePodSandbox({ podSandboxId }),
        });
      }
    });

    it(`${name} in each string of CreateContainer`, async () => {
      const paths = [...stringsOf(fullContainer(), [])].filter(([first]) => first === 'config');
      assert.ok(paths.length > 30);
      for (const path of paths) {
        const request = fullContainer();
        poisonAt(request, path, poison);
        let containerId = '';
        const { runtime } = agent.client;
        await check(path, poison, {
          make: async () => {
            ({ containerId } = await runtime.createContainer(request));
            const { status } = await runtime.containerStatus({ containerId, verbose: false });
            return status ?? {};
          },
          remove: () => runtime.removeContainer({ containerId }),
        });
      }
    });
  }
});

interface Call {
  make(): Promise<Partial<ContainerStatus & PodSandboxStatus>>;
  remove(): Promise<unknown>;
}

/** How errors name a field: as CRI does, or by what it holds. */
function nameOf(path: Path): RegExp {
  const fields = path.map(String).filter((part) => !/^\d+$/.test(part));
  const last = fields.findLast((part) => !part.includes(' ')) ?? '';
  const words: Record<string, string> = {
    servers: 'DNS server',
    searches: 'search domain',
    options: 'DNS option',
    sysctls: 'sysctl',
    addCapabilities: 'capability',
    dropCapabilities: 'capability',
    addAmbientCapabilities: 'capability',
    maskedPaths: 'masked',
    readonlyPaths: 'read-only',
    envs: 'env',
    key: 'env',
    value: 'env',
    args: 'argument',
    runAsUsername: 'user',
    runtimeHandler: 'runtime handler',
  };
  return new RegExp(
    words[last] ?? last.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    'i',
  );
}

/** The path of every string and of every key and value of a map. */
function* stringsOf(value: unknown, path: Path): Iterable<Path> {
  if (typeof value === 'string' || value instanceof Uint8Array) yield path;
  else if (Array.isArray(value)) {
    for (const [i, each] of value.entries()) yield* stringsOf(each, [...path, i]);
  } else if (value instanceof Map) {
    for (const key of value.keys()) {
      yield [...path, `key ${String(key)}`];
      yield [...path, `value ${String(key)}`];
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, each] of Object.entries(value)) yield* stringsOf(each, [...path, key]);
  }
}

function poisonAt(message: object, path: Path, poison: string): void {
  const parent = path.slice(0, -1).reduce((value: object, key) => {
    return (value as Record<string | number, object>)[key] ?? {};
  }, message);
  const last = path.at(-1) ?? '';
  if (parent instanceof Map) {
    const [what, key = ''] = String(last).split(' ');
    const map = parent as Map<string, string>;
    if (what === 'value') map.set(key, poison);
    else {
      map.set(poison, map.get(key) ?? '');
      map.delete(key);
    }
    return;
  }
  const fields = parent as Record<string | number, unknown>;
  const old = fields[last];
  // A path stays one, so that it is refused for the poison alone.
  const poisoned = typeof old === 'string' && old.startsWith('/') ? `/${poison}` : poison;
  fields[last] = old instanceof Uint8Array ? Buffer.from(poison) : poisoned;
}
