/**
 * Requests that crictl and the kubelet's client library really sent, read by our generated code.
 * test/fixtures/cri has their raw bytes and what the client was told; pod.json and container.json
 * are the files that crictl was given.
 */
import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import type { MethodDefinition } from '@grpc/grpc-js';
import type { CreateContainerRequest, RunPodSandboxRequest } from '../../../src/cri/gen/index.js';
import {
  AttachRequest,
  CheckpointContainerRequest,
  ContainerState,
  ExecRequest,
  ExecSyncRequest,
  ImageServiceService,
  ImageStatusRequest,
  ListContainersRequest,
  ListContainerStatsRequest,
  ListImagesRequest,
  ListPodSandboxRequest,
  PodSandboxState,
  PodSandboxStatusRequest,
  PortForwardRequest,
  Protocol,
  PullImageRequest,
  ReopenContainerLogRequest,
  RuntimeServiceService,
  Signal,
  StatusRequest,
  StopContainerRequest,
  StreamContainersRequest,
  UpdateContainerResourcesRequest,
  UpdatePodSandboxResourcesRequest,
  UpdateRuntimeConfigRequest,
} from '../../../src/cri/gen/index.js';

const POD = `${'b'.repeat(63)}1`;
const CONTAINER = `${'c'.repeat(63)}2`;

/** The protocol as of Kubernetes 1.36. */
const METHODS = [
  'ImageService/ImageFsInfo',
  'ImageService/ImageStatus',
  'ImageService/ListImages',
  'ImageService/PullImage',
  'ImageService/RemoveImage',
  'ImageService/StreamImages stream',
  'RuntimeService/Attach',
  'RuntimeService/CheckpointContainer',
  'RuntimeService/ContainerStats',
  'RuntimeService/ContainerStatus',
  'RuntimeService/CreateContainer',
  'RuntimeService/Exec',
  'RuntimeService/ExecSync',
  'RuntimeService/GetContainerEvents stream',
  'RuntimeService/ListContainerStats',
  'RuntimeService/ListContainers',
  'RuntimeService/ListMetricDescriptors',
  'RuntimeService/ListPodSandbox',
  'RuntimeService/ListPodSandboxMetrics',
  'RuntimeService/ListPodSandboxStats',
  'RuntimeService/PodSandboxStats',
  'RuntimeService/PodSandboxStatus',
  'RuntimeService/PortForward',
  'RuntimeService/RemoveContainer',
  'RuntimeService/RemovePodSandbox',
  'RuntimeService/ReopenContainerLog',
  'RuntimeService/RunPodSandbox',
  'RuntimeService/RuntimeConfig',
  'RuntimeService/StartContainer',
  'RuntimeService/Status',
  'RuntimeService/StopContainer',
  'RuntimeService/StopPodSandbox',
  'RuntimeService/StreamContainerStats stream',
  'RuntimeService/StreamContainers stream',
  'RuntimeService/StreamPodSandboxMetrics stream',
  'RuntimeService/StreamPodSandboxStats stream',
  'RuntimeService/StreamPodSandboxes stream',
  'RuntimeService/UpdateContainerResources',
  'RuntimeService/UpdatePodSandboxResources',
  'RuntimeService/UpdateRuntimeConfig',
  'RuntimeService/Version',
];

interface Captured {
  /** crictl's command line, or the client that was driven by a program. */
  told: string[] | 'cri-client';
  method: string;
  request: string;
}

type Method = MethodDefinition<object, object>;

function fixture(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../fixtures/cri/${name}`, import.meta.url), 'utf8'));
}

const { messages } = fixture('messages.json') as { messages: Captured[] };
const methods = new Map(
  [RuntimeServiceService, ImageServiceService]
    .flatMap((service) => Object.values(service) as Method[])
    .map((method) => [method.path, method]),
);

function methodOf(message: Captured): Method {
  const method = methods.get(message.method);
  assert.ok(method, `unknown method ${message.method}`);
  return method;
}

/** The request that a client sent for a method; `command` starts crictl's command line. */
function captured(method: string, ...command: string[]): object {
  const wanted = messages.filter(
    ({ told, method: path }) =>
      path.endsWith(`/${method}`) &&
      (command[0] === 'cri-client'
        ? told === 'cri-client'
        : told !== 'cri-client' && command.every((word, i) => told[i + 1] === word)),
  );
  assert.equal(wanted.length, 1, `${method} by ${command.join(' ')}`);
  return methodOf(wanted[0]!).requestDeserialize(Buffer.from(wanted[0]!.request, 'base64'));
}

/** Asserts that a message says all that a crictl configuration file (snake case JSON) says. */
function assertSays(actual: unknown, told: unknown, where: string): void {
  if (actual instanceof Map) {
    assert.deepEqual(Object.fromEntries(actual), told, where);
  } else if (Buffer.isBuffer(actual)) {
    assert.equal(actual.toString(), told, where);
  } else if (typeof actual === 'bigint') {
    // JSON.parse has rounded what is beyond 2^53; such values are asserted apart.
    assert.equal(Number(actual), told, where);
  } else if (Array.isArray(told)) {
    assert.ok(Array.isArray(actual), where);
    assert.equal(actual.length, told.length, `${where}.length`);
    told.forEach((item, i) => {
      assertSays(actual[i], item, `${where}[${i}]`);
    });
  } else if (typeof told === 'object' && told !== null) {
    assert.ok(typeof actual === 'object' && actual !== null, where);
    for (const [key, value] of Object.entries(told)) {
      const name = key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
      assert.ok(name in actual, `${where}.${name} is not a field`);
      assertSays((actual as Record<string, unknown>)[name], value, `${where}.${name}`);
    }
  } else {
    assert.equal(actual, told, where);
  }
}

/** Go writes the value of a map's entry also when it is empty, ts-proto leaves it out: two bytes. */
function emptyMapValues(value: unknown): number {
  if (value instanceof Map) return [...value.values()].filter((text) => text === '').length;
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return 0;
  return Object.values(value).reduce((sum: number, field) => sum + emptyMapValues(field), 0);
}

describe('cri messages', () => {
  it('have the 41 methods of the protocol', () => {
    const names = [...methods.values()].map(
      ({ path, responseStream }) =>
        path.replace('/runtime.v1.', '') + (responseStream ? ' stream' : ''),
    );
    assert.deepEqual(names.sort(), METHODS);
    assert.ok([...methods.values()].every(({ requestStream }) => !requestStream));
  });

  it('were captured for every method', () => {
    const seen = new Set(messages.map(({ method }) => method));
    assert.deepEqual(
      [...methods.keys()].filter((path) => !seen.has(path)),
      [],
    );
  });

  messages.forEach((message, i) => {
    const by = typeof message.told === 'string' ? message.told : message.told.slice(0, 2).join(' ');
    it(`lose nothing: ${i} ${message.method.split('/')[2]!} of ${by}`, () => {
      const method = methodOf(message);
      const raw = Buffer.from(message.request, 'base64');
      const decoded = method.requestDeserialize(raw);
      const encoded = method.requestSerialize(decoded);
      assert.deepEqual(method.requestDeserialize(encoded), decoded);
      // The order of fields and of a map's entries is free; a field that was skipped would be missing.
      assert.equal(encoded.length, raw.length - 2 * emptyMapValues(decoded));
    });
  });

  it('say of a pod what crictl was told', () => {
    const request = captured('RunPodSandbox', 'runp') as RunPodSandboxRequest;
    assert.equal(request.runtimeHandler, 'kata');
    assertSays(request.config, fixture('pod.json'), 'config');
    assert.equal(request.config?.linux?.resources?.memoryLimitInBytes, 9007199254740993n);
    assert.equal(request.config.portMappings[1]?.protocol, Protocol.UDP);
    assert.equal(request.config.labels.get('__proto__'), 'harmless');
    assert.equal(request.config.labels.get('größe'), '日本語 🐧');
    assert.equal(request.config.annotations.get('lines'), 'a\nb\tc\0d');
    assert.equal(request.config.linux.securityContext?.runAsUser?.value, 0n);
    assert.deepEqual(request.config.linux.securityContext.supplementalGroups, [
      0n,
      1000n,
      4294967294n,
    ]);
    assert.equal(request.config.windows, undefined);
  });

  it('say of a container what crictl was told', () => {
    const request = captured('CreateContainer', 'create') as CreateContainerRequest;
    assert.equal(request.podSandboxId, POD);
    assertSays(request.config, fixture('container.json'), 'config');
    assertSays(request.sandboxConfig, fixture('pod.json'), 'sandboxConfig');
    const config = request.config;
    assert.equal(config?.linux?.resources?.hugepageLimits[0]?.limit, 18446744073709551615n);
    assert.equal(config.linux.resources.cpuQuota, -1n);
    assert.equal(config.envs[1]?.value.length, 0);
    assert.equal(config.stopSignal, Signal.SIGUSR1);
    assert.deepEqual(config.CDIDevices, [{ name: 'vendor.com/gpu=0' }]);
    assert.equal(config.mounts[2]?.gidMappings[0]?.hostId, 4294967295);
    assert.equal(config.mounts[0]?.image, undefined);
    assert.equal(config.mounts[3]?.image?.image, 'registry.example/model:1');
  });

  const cases: [name: string, actual: object, expected: object][] = [
    ['info', captured('Status', 'info'), StatusRequest.create({ verbose: true })],
    [
      'pods',
      captured('ListPodSandbox', 'pods'),
      ListPodSandboxRequest.create({
        filter: {
          id: POD,
          state: { state: PodSandboxState.SANDBOX_READY },
          labelSelector: new Map([
            ['app', 'web'],
            ['tier', 'front'],
          ]),
        },
      }),
    ],
    [
      'inspectp',
      captured('PodSandboxStatus', 'inspectp'),
      PodSandboxStatusRequest.create({ podSandboxId: POD, verbose: true }),
    ],
    [
      'ps --all',
      captured('ListContainers', 'ps', '--all'),
      ListContainersRequest.create({
        filter: { id: CONTAINER, podSandboxId: POD, labelSelector: new Map([['app', 'web']]) },
      }),
    ],
    [
      'ps --state',
      captured('ListContainers', 'ps', '--state'),
      ListContainersRequest.create({
        filter: { state: { state: ContainerState.CONTAINER_EXITED } },
      }),
    ],
    [
      'a filter for a state that is the zero of its enum',
      captured('StreamContainers', 'cri-client'),
      StreamContainersRequest.create({
        filter: { podSandboxId: CONTAINER, state: { state: ContainerState.CONTAINER_CREATED } },
      }),
    ],
    [
      'exec --sync',
      captured('ExecSync', 'exec'),
      ExecSyncRequest.create({
        containerId: CONTAINER,
        cmd: ['sh', '-c', 'echo "a  b"', ''],
        timeout: 7n,
      }),
    ],
    [
      'exec',
      captured('Exec', 'exec'),
      ExecRequest.create({
        containerId: CONTAINER,
        cmd: ['sh'],
        stdin: true,
        stdout: true,
        stderr: true,
      }),
    ],
    [
      'attach with a terminal',
      captured('Attach', 'cri-client'),
      AttachRequest.create({ containerId: CONTAINER, stdin: true, stdout: true, tty: true }),
    ],
    [
      'port-forward with packed ports',
      captured('PortForward', 'cri-client'),
      PortForwardRequest.create({ podSandboxId: CONTAINER, port: [80, 65535] }),
    ],
    [
      'stats',
      captured('ListContainerStats', 'stats', '--output', 'json', '--pod'),
      ListContainerStatsRequest.create({
        filter: { id: CONTAINER, podSandboxId: POD, labelSelector: new Map([['app', 'web']]) },
      }),
    ],
    [
      'images',
      captured('ListImages', 'images'),
      ListImagesRequest.create({ filter: { image: { image: 'busybox:1.36' } } }),
    ],
    [
      'inspecti',
      captured('ImageStatus', 'inspecti'),
      ImageStatusRequest.create({ image: { image: 'busybox:1.36' }, verbose: true }),
    ],
    [
      'pull --auth',
      captured('PullImage', 'pull', '--auth'),
      PullImageRequest.create({ image: { image: 'busybox' }, auth: { auth: 'YWxpY2U6c2VjcmV0' } }),
    ],
    [
      'a pull with every kind of credential',
      captured('PullImage', 'cri-client'),
      PullImageRequest.create({
        image: {
          image: `registry.example:5000/a/b@sha256:${'0'.repeat(64)}`,
          annotations: new Map([['x', 'y']]),
        },
        auth: {
          username: 'u',
          password: 'p:w',
          auth: 'dTpwOnc=',
          serverAddress: 'registry.example:5000',
          identityToken: 'it',
          registryToken: 'rt',
        },
        sandboxConfig: { metadata: { name: 'n' } },
      }),
    ],
    [
      'update',
      captured('UpdateContainerResources', 'update'),
      UpdateContainerResourcesRequest.create({
        containerId: CONTAINER,
        linux: {
          cpuPeriod: 100000n,
          cpuQuota: -1n,
          cpuShares: 512n,
          memoryLimitInBytes: 9007199254740993n,
          cpusetCpus: '0-1',
          cpusetMems: '0',
          oomScoreAdj: -5n,
        },
      }),
    ],
    [
      "a resize of the pod's resources",
      captured('UpdatePodSandboxResources', 'cri-client'),
      UpdatePodSandboxResourcesRequest.create({
        podSandboxId: CONTAINER,
        overhead: { cpuShares: 2n },
        resources: { cpuPeriod: 100000n, cpuQuota: 200000n, memoryLimitInBytes: 1n << 40n },
      }),
    ],
    [
      'update-runtime-config',
      captured('UpdateRuntimeConfig', 'update-runtime-config'),
      UpdateRuntimeConfigRequest.create({
        runtimeConfig: { networkConfig: { podCidr: '10.244.0.0/24' } },
      }),
    ],
    [
      'a checkpoint',
      captured('CheckpointContainer', 'cri-client'),
      CheckpointContainerRequest.create({
        containerId: CONTAINER,
        location: '/var/lib/kubelet/checkpoints/c.tar',
        timeout: 120n,
      }),
    ],
    [
      'a log rotation',
      captured('ReopenContainerLog', 'cri-client'),
      ReopenContainerLogRequest.create({ containerId: CONTAINER }),
    ],
    [
      'stop',
      captured('StopContainer', 'stop'),
      StopContainerRequest.create({ containerId: CONTAINER, timeout: 9n }),
    ],
    [
      'rm --force',
      captured('StopContainer', 'rm'),
      StopContainerRequest.create({ containerId: CONTAINER, timeout: 0n }),
    ],
  ];
  for (const [name, actual, expected] of cases) {
    it(`mean what was asked: ${name}`, () => {
      assert.deepEqual(actual, expected);
    });
  }

  it('carry credentials with a colon in the password as they were typed', () => {
    const request = captured('PullImage', 'pull', '--creds') as PullImageRequest;
    assert.equal(request.image?.image, 'registry.example:5000/team/app:1.0');
    assert.equal(request.auth?.username, 'alice');
    assert.equal(request.auth.password, 'se:cret');
    assertSays(request.sandboxConfig, fixture('pod.json'), 'sandboxConfig');
  });

  it('carry environment variables that are no text', () => {
    const request = captured('CreateContainer', 'cri-client') as CreateContainerRequest;
    assert.deepEqual(request.config?.envs, [
      { key: 'BINARY', value: Buffer.from([0xff, 0x00, 0x80]) },
    ]);
  });

  it('skip fields of a newer protocol', () => {
    const known = StopContainerRequest.create({ containerId: CONTAINER, timeout: 9n });
    const bytes = Buffer.concat([
      // Field 100: a string, a varint, 32 and 64 bits.
      Buffer.from([0xa2, 0x06, 3, 1, 2, 3, 0xa0, 0x06, 0xff, 0x01]),
      StopContainerRequest.encode(known).finish(),
      Buffer.from([0xa5, 0x06, 1, 2, 3, 4, 0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8]),
    ]);
    assert.deepEqual(StopContainerRequest.decode(bytes), known);
  });

  it('refuse bytes that end within a field', () => {
    const bytes = StopContainerRequest.encode(
      StopContainerRequest.create({ containerId: CONTAINER }),
    ).finish();
    assert.throws(() => StopContainerRequest.decode(bytes.subarray(0, 20)), RangeError);
  });
});
