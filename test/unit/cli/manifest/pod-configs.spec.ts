/** From a manifest to CRI messages: what a kubelet would send. */
import assert from 'node:assert/strict';
import { stringify } from 'yaml';
import { MountPropagation, NamespaceMode, Signal } from '../../../../src/cri/gen/index.js';
import type { ContainerConfig, PodSandboxConfig } from '../../../../src/cri/gen/index.js';
import { hostsFile, parseResolvConf, podDns } from '../../../../src/cli/manifest/dns.js';
import { containerConfig, sandboxConfig } from '../../../../src/cli/manifest/pod-configs.js';
import type { PodSetting } from '../../../../src/cli/manifest/pod-configs.js';
import { readManifest } from '../../../../src/cli/manifest/read.js';
import { containerResources, qosClass } from '../../../../src/cli/manifest/resources.js';
import type { PodManifest } from '../../../../src/cli/manifest/schema.js';
import { rootRefusal } from '../../../../src/cli/manifest/security.js';

type Fields = Record<string, unknown>;

const GIB = 1n << 30n;
const setting: PodSetting = {
  uid: '11111111-2222-3333-4444-555555555555',
  nodeName: 'pve1',
  logDirectory: '/var/log/pods/shop_web_1111',
  filesDirectory: '/var/lib/pvecri/run/1111',
  hostResolvConf: 'nameserver 192.0.2.53\nsearch example.org\noptions ndots:2\n',
  machine: { cpus: 4, memoryBytes: 8n * GIB },
};

function manifest(spec: Fields = {}, container: Fields = {}, metadata: Fields = {}): PodManifest {
  const text = stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop', ...metadata },
    spec: { containers: [{ name: 'main', image: 'busybox', ...container }], ...spec },
  });
  return readManifest(text, 'pod.yaml').pod;
}

const sandbox = (spec?: Fields, container?: Fields, metadata?: Fields): PodSandboxConfig =>
  sandboxConfig(manifest(spec, container, metadata), setting);

function first(pod: PodManifest): ContainerConfig {
  const [container] = pod.spec.containers;
  assert.ok(container);
  return containerConfig(pod, container, 'sha256:abc', ['10.1.0.2', 'fd00::2'], setting);
}

const main = (container?: Fields, spec?: Fields, metadata?: Fields): ContainerConfig =>
  first(manifest(spec, container, metadata));

const envOf = (config: ContainerConfig): [string, string][] =>
  config.envs.map(({ key, value }) => [key, value.toString()]);

describe('sandboxConfig', () => {
  it('names the pod in metadata and labels, and keeps its own labels', () => {
    const config = sandbox({}, {}, { labels: { app: 'shop' }, annotations: { note: 'a\nb' } });
    assert.deepEqual(config.metadata, {
      name: 'web',
      namespace: 'shop',
      uid: setting.uid,
      attempt: 0,
    });
    assert.deepEqual(Object.fromEntries(config.labels), {
      app: 'shop',
      'io.kubernetes.pod.name': 'web',
      'io.kubernetes.pod.namespace': 'shop',
      'io.kubernetes.pod.uid': setting.uid,
    });
    assert.deepEqual(Object.fromEntries(config.annotations), { note: 'a\nb' });
    assert.equal(config.logDirectory, setting.logDirectory);
  });

  it('does not let a manifest pass itself off as another pod', () => {
    const config = sandbox({}, {}, { labels: { 'io.kubernetes.pod.uid': 'other' } });
    assert.equal(config.labels.get('io.kubernetes.pod.uid'), setting.uid);
  });

  it('has namespaces of its own unless told otherwise', () => {
    const own = sandbox().linux?.securityContext?.namespaceOptions;
    assert.equal(own?.network, NamespaceMode.POD);
    assert.equal(own.pid, NamespaceMode.CONTAINER);
    assert.equal(own.ipc, NamespaceMode.POD);
    const shared = sandbox({ hostNetwork: true, hostPID: true, hostIPC: true });
    assert.deepEqual(
      { ...shared.linux?.securityContext?.namespaceOptions },
      {
        network: NamespaceMode.NODE,
        pid: NamespaceMode.NODE,
        ipc: NamespaceMode.NODE,
        targetId: '',
        usernsOptions: undefined,
      },
    );
    const together = sandbox({ shareProcessNamespace: true });
    assert.equal(together.linux?.securityContext?.namespaceOptions?.pid, NamespaceMode.POD);
  });

  it('is named after the pod, the hostname field, or the node on its network', () => {
    assert.equal(sandbox().hostname, 'web');
    assert.equal(sandbox({ hostname: 'shop' }).hostname, 'shop');
    assert.equal(sandbox({ hostNetwork: true }).hostname, 'pve1');
    const long = `${'a'.repeat(62)}.b`;
    assert.equal(sandbox({}, {}, { name: long }).hostname, 'a'.repeat(62));
  });

  it('takes a hostname override as it is', () => {
    assert.equal(sandbox({ hostnameOverride: 'db.example.org' }).hostname, 'db.example.org');
  });

  it('maps ports, with 0 where the host has none', () => {
    const ports = [
      { containerPort: 80, hostPort: 8080, hostIP: '192.0.2.1' },
      { containerPort: 53, protocol: 'UDP' },
    ];
    assert.deepEqual(sandbox({}, { ports }).portMappings, [
      { protocol: 0, containerPort: 80, hostPort: 8080, hostIp: '192.0.2.1' },
      { protocol: 1, containerPort: 53, hostPort: 0, hostIp: '' },
    ]);
  });

  it('is privileged when a container is', () => {
    assert.equal(sandbox().linux?.securityContext?.privileged, false);
    const privileged = sandbox({}, { securityContext: { privileged: true } });
    assert.equal(privileged.linux?.securityContext?.privileged, true);
  });
});

describe('containerConfig', () => {
  it('carries the labels by which the kubelet knows a container, and its log file', () => {
    const config = main();
    assert.deepEqual(Object.fromEntries(config.labels), {
      'io.kubernetes.container.name': 'main',
      'io.kubernetes.pod.name': 'web',
      'io.kubernetes.pod.namespace': 'shop',
      'io.kubernetes.pod.uid': setting.uid,
    });
    assert.equal(config.logPath, 'main/0.log');
    assert.equal(config.annotations.get('io.kubernetes.pod.terminationGracePeriod'), '30');
    assert.equal(config.image?.image, 'sha256:abc');
    assert.equal(config.image.userSpecifiedImage, 'busybox');
  });

  it('expands variables in env, command and args', () => {
    const config = main({
      env: [
        { name: 'A', value: '1' },
        { name: 'B', value: '$(A)$(LATER)$$(A)' },
        { name: 'LATER', value: '2' },
        { name: 'A', value: '3' },
      ],
      command: ['/bin/$(A)'],
      args: ['$(B)', '$(NONE)'],
    });
    assert.deepEqual(envOf(config), [
      ['A', '3'],
      ['B', '1$(LATER)$(A)'],
      ['LATER', '2'],
    ]);
    assert.deepEqual(config.command, ['/bin/3']);
    assert.deepEqual(config.args, ['1$(LATER)$(A)', '$(NONE)']);
  });

  it('fills fields of the pod into env', () => {
    const paths = {
      NAME: 'metadata.name',
      NS: 'metadata.namespace',
      UID: 'metadata.uid',
      NODE: 'spec.nodeName',
      IP: 'status.podIP',
      IPS: 'status.podIPs',
      LABEL: "metadata.labels['app']",
      NOTE: "metadata.annotations['example.org/note']",
      NONE: "metadata.labels['none']",
    };
    const env = Object.entries(paths).map(([name, fieldPath]) => ({
      name,
      valueFrom: { fieldRef: { fieldPath } },
    }));
    const metadata = { labels: { app: 'shop' }, annotations: { 'example.org/note': '$(NAME)' } };
    assert.deepEqual(Object.fromEntries(envOf(main({ env }, {}, metadata))), {
      NAME: 'web',
      NS: 'shop',
      UID: setting.uid,
      NODE: 'pve1',
      IP: '10.1.0.2',
      IPS: '10.1.0.2,fd00::2',
      LABEL: 'shop',
      NOTE: '$(NAME)',
      NONE: '',
    });
  });

  it('fills figures of the container into env, in units of the divisor and rounded up', () => {
    const figure = (resource: string, divisor?: string): object => ({
      name: `${resource}/${divisor ?? ''}`,
      valueFrom: { resourceFieldRef: { resource, ...(divisor && { divisor }) } },
    });
    const env = [
      figure('limits.cpu'),
      figure('limits.cpu', '1m'),
      figure('limits.memory', '1Mi'),
      figure('requests.memory'),
    ];
    const values = (container: Fields): string[] =>
      envOf(main({ env, ...container })).map(([, value]) => value);
    const limits = { cpu: '1500m', memory: '100Mi' };
    assert.deepEqual(values({ resources: { limits } }), ['2', '1500', '100', '104857600']);
    // Without a limit it is what the machine has.
    assert.deepEqual(values({}), ['4', '4000', '8192', '0']);
  });

  it('asks for huge pages, a stop signal, and recursive read-only mounts', () => {
    const config = main(
      {
        resources: { limits: { 'hugepages-2Mi': '8Mi', 'hugepages-1Gi': '2Gi' } },
        lifecycle: { stopSignal: 'SIGRTMIN+1' },
        volumeMounts: [
          { name: 'a', mountPath: '/a', readOnly: true, recursiveReadOnly: 'Enabled' },
        ],
      },
      { volumes: [{ name: 'a', emptyDir: {} }] },
    );
    assert.deepEqual(
      config.linux?.resources?.hugepageLimits.map(({ pageSize, limit }) => [pageSize, limit]),
      [
        ['2MB', 8n << 20n],
        ['1GB', 2n << 30n],
      ],
    );
    assert.equal(config.stopSignal, Signal.SIGRTMINPLUS1);
    assert.deepEqual(
      config.mounts.slice(0, 1).map((mount) => [mount.readonly, mount.recursiveReadOnly]),
      [[true, true]],
    );
  });

  it('names profiles where the kubelet keeps them', () => {
    const security = main({
      securityContext: {
        seccompProfile: { type: 'Localhost', localhostProfile: 'profiles/audit.json' },
      },
    }).linux?.securityContext;
    assert.equal(security?.seccomp?.localhostRef, '/var/lib/kubelet/seccomp/profiles/audit.json');
  });

  it('gives every container the group of the volumes', () => {
    const spec = { securityContext: { fsGroup: 2000, supplementalGroups: [3000] } };
    const groups = [3000n, 2000n];
    assert.deepEqual(main({}, spec).linux?.securityContext?.supplementalGroups, groups);
    assert.deepEqual(sandbox(spec).linux?.securityContext?.supplementalGroups, groups);
  });

  it('mounts volumes, the hosts file and the termination log', () => {
    const config = main(
      {
        volumeMounts: [
          { name: 'data', mountPath: '/data', readOnly: true },
          { name: 'host', mountPath: '/host', mountPropagation: 'HostToContainer' },
        ],
      },
      {
        volumes: [
          { name: 'data', emptyDir: {} },
          { name: 'host', hostPath: { path: '/srv' } },
        ],
      },
    );
    assert.deepEqual(
      config.mounts.map((mount) => [
        mount.containerPath,
        mount.hostPath,
        mount.readonly,
        mount.propagation,
      ]),
      [
        ['/data', `${setting.filesDirectory}/volumes/data`, true, 0],
        ['/host', '/srv', false, MountPropagation.PROPAGATION_HOST_TO_CONTAINER],
        ['/etc/hosts', `${setting.filesDirectory}/etc-hosts`, false, 0],
        [
          '/dev/termination-log',
          `${setting.filesDirectory}/containers/main/termination-log`,
          false,
          0,
        ],
      ],
    );
  });

  it('leaves a path alone that the manifest mounts itself', () => {
    const config = main(
      { volumeMounts: [{ name: 'hosts', mountPath: '/etc//hosts' }] },
      { volumes: [{ name: 'hosts', hostPath: { path: '/srv/hosts', type: 'File' } }] },
    );
    const hosts = config.mounts.filter(({ containerPath }) => containerPath.endsWith('/hosts'));
    assert.deepEqual(
      hosts.map(({ hostPath }) => hostPath),
      ['/srv/hosts'],
    );
  });

  it('states security as the kubelet does', () => {
    const config = main(
      {
        securityContext: {
          runAsUser: 1000,
          capabilities: { add: ['NET_ADMIN'], drop: ['ALL'] },
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
        },
      },
      { securityContext: { runAsUser: 1, runAsGroup: 2, supplementalGroups: [7] } },
    );
    const security = config.linux?.securityContext;
    assert.equal(security?.runAsUser?.value, 1000n);
    assert.equal(security.runAsGroup?.value, 2n);
    assert.deepEqual(security.supplementalGroups, [7n]);
    assert.deepEqual(security.capabilities?.addCapabilities, ['NET_ADMIN']);
    assert.deepEqual(security.capabilities.dropCapabilities, ['ALL']);
    assert.equal(security.noNewPrivs, true);
    assert.equal(security.readonlyRootfs, true);
    assert.equal(security.seccomp?.profileType, 0);
    assert.ok(security.maskedPaths.includes('/proc/kcore'));
    assert.ok(security.readonlyPaths.includes('/proc/sys'));
  });

  it('hides nothing from a privileged container', () => {
    const security = main({ securityContext: { privileged: true } }).linux?.securityContext;
    assert.deepEqual(security?.maskedPaths, []);
    assert.deepEqual(security.readonlyPaths, []);
    assert.equal(security.noNewPrivs, false);
  });
});

describe('containerResources', () => {
  const resources = (limits: Fields, requests: Fields = {}): Fields => ({
    resources: { limits, requests },
  });
  function figures(container: Fields): ReturnType<typeof containerResources> {
    const { spec } = manifest({}, container);
    assert.ok(spec.containers[0]);
    return containerResources(spec, spec.containers[0], 8n * GIB);
  }

  it('guards a pod whose limits are its requests', () => {
    const got = figures(resources({ cpu: '500m', memory: '64Mi' }));
    assert.equal(got.cpuShares, 512n);
    assert.equal(got.cpuQuota, 50_000n);
    assert.equal(got.cpuPeriod, 100_000n);
    assert.equal(got.memoryLimitInBytes, 64n << 20n);
    assert.equal(got.oomScoreAdj, -997n);
  });

  it('gives up first what asks for nothing', () => {
    const got = figures({});
    assert.deepEqual(
      [got.cpuShares, got.cpuQuota, got.memoryLimitInBytes, got.oomScoreAdj],
      [2n, 0n, 0n, 1000n],
    );
  });

  it('weighs what lies between by the memory it asked for', () => {
    assert.equal(figures(resources({}, { memory: '2Gi' })).oomScoreAdj, 750n);
    assert.equal(figures(resources({}, { memory: '8Gi' })).oomScoreAdj, 3n);
    assert.equal(figures(resources({}, { cpu: '1m' })).oomScoreAdj, 999n);
  });

  it('keeps to the least and most the kernel takes', () => {
    assert.equal(figures(resources({ cpu: '1m' })).cpuQuota, 1000n);
    assert.equal(figures(resources({}, { cpu: '10000' })).cpuShares, 262_144n);
  });

  it('counts a pod as guaranteed only when all of its containers are', () => {
    const bound = { limits: { cpu: 1, memory: '1Gi' } };
    const containers = [
      { name: 'a', image: 'x', resources: bound },
      { name: 'b', image: 'x' },
    ];
    assert.equal(qosClass(manifest({ containers }).spec), 'Burstable');
  });
});

describe('podDns and hostsFile', () => {
  it('read the resolv.conf of the host', () => {
    const text = '# x\ndomain a.org\nsearch b.org c.org ; y\nnameserver 1.1.1.1\noptions a b:1\n';
    assert.deepEqual(parseResolvConf(text), {
      servers: ['1.1.1.1'],
      searches: ['b.org', 'c.org'],
      options: ['a', 'b:1'],
    });
  });

  it('add dnsConfig to it, or take dnsConfig alone', () => {
    const dnsConfig = {
      nameservers: ['192.0.2.1', '192.0.2.53'],
      options: [{ name: 'ndots', value: '5' }, { name: 'rotate' }],
    };
    const merged = podDns(manifest({ dnsConfig }).spec, setting.hostResolvConf);
    assert.deepEqual(
      { ...merged },
      {
        servers: ['192.0.2.53', '192.0.2.1'],
        searches: ['example.org'],
        options: ['ndots:5', 'rotate'],
      },
    );
    const alone = podDns(manifest({ dnsConfig, dnsPolicy: 'None' }).spec, setting.hostResolvConf);
    assert.deepEqual(alone.servers, ['192.0.2.1', '192.0.2.53']);
    assert.deepEqual(alone.searches, []);
  });

  it('name the pod and its aliases, or keep the host file on the host network', () => {
    const hostAliases = [{ ip: '192.0.2.9', hostnames: ['db', 'db.local'] }];
    const pod = { hostname: 'web', ips: ['10.1.0.2'] };
    const own = hostsFile(manifest({ hostAliases }).spec, pod, '192.0.2.3 host\n');
    assert.match(own, /^127\.0\.0\.1\tlocalhost\n/);
    assert.ok(own.endsWith('10.1.0.2\tweb\n192.0.2.9\tdb\tdb.local\n'), own);
    const host = hostsFile(
      manifest({ hostAliases, hostNetwork: true }).spec,
      pod,
      '192.0.2.3 host',
    );
    assert.equal(host, '192.0.2.3 host\n192.0.2.9\tdb\tdb.local\n');
  });
});

describe('rootRefusal', () => {
  const check = (
    security: Fields,
    image: { uid?: bigint; username: string },
  ): string | undefined => {
    const { spec } = manifest({}, { securityContext: security });
    assert.ok(spec.containers[0]);
    return rootRefusal(spec, spec.containers[0], image);
  };

  it('judges by what runs: the manifest first, then the image', () => {
    const root = { uid: 0n, username: '' };
    assert.equal(check({}, root), undefined);
    assert.match(check({ runAsNonRoot: true }, root) ?? '', /runs as root/);
    assert.match(check({ runAsNonRoot: true }, { username: '' }) ?? '', /runs as root/);
    assert.match(check({ runAsNonRoot: true, runAsUser: 0 }, root) ?? '', /runAsUser is 0/);
    assert.equal(check({ runAsNonRoot: true, runAsUser: 5 }, root), undefined);
    assert.equal(check({ runAsNonRoot: true }, { uid: 5n, username: '' }), undefined);
    assert.match(check({ runAsNonRoot: true }, { username: 'www' }) ?? '', /set runAsUser/);
  });
});
