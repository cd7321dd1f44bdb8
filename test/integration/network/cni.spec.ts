/** The CNI chains with Debian's real plugins; a namespace of the test's own stands for the host's. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SandboxId } from '../../../src/core/ids.js';
import type { NetworkRequest, PodNetwork } from '../../../src/core/ports/network.js';
import { loadAddon } from '../../../src/native/binding.js';
import { ProcessSpawner } from '../../../src/native/process.js';
import { CniNetwork } from '../../../src/network/cni/network.js';
import type { AttachArguments } from '../../support/attach-for-ever.js';
import {
  inNetworkNamespace,
  pinNetworkNamespace,
  unpinNetworkNamespace,
} from '../../support/network-namespace.js';
import { pluginRunner } from '../../support/run-plugin.js';
import { scriptArguments } from '../../support/script.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const PLUGINS = ['/usr/lib/cni', '/opt/cni/bin'];
/** Says who it is to whoever connects to port 80. */
const GREETER = `
  use Socket; $| = 1;
  socket(my $s, AF_INET, SOCK_STREAM, 0) or die; bind($s, sockaddr_in(80, INADDR_ANY)) or die $!;
  listen($s, 5) or die; print "ready\\n";
  while (accept(my $c, $s)) { syswrite($c, "from the pod"); close($c); }`;
const lockFile = (path: string): number => loadAddon().lockFile(path);
/** Takes prevResult, the last key, out of a plugin's configuration. */
const PREVIOUS = `sed 's/.*"prevResult"://;s/}$//'`;
const POD = 'a'.repeat(64) as SandboxId;

describe('CniNetwork with real plugins', function () {
  this.timeout(120_000);
  let spawner: ProcessSpawner;
  let folder: string;
  let hostNetns: string;
  let podNetns: string;
  let network: CniNetwork;

  const path = (...parts: string[]) => join(folder, ...parts);
  const cacheFolder = () => path('root', 'networks');
  const cacheFile = () => path('root', 'networks', `${POD}.json`);
  const folders = () => ({ confDir: path('net.d'), binDirs: [path('bin'), ...PLUGINS] });
  const request = (change: Partial<NetworkRequest> = {}): NetworkRequest => ({
    id: POD,
    netnsPath: podNetns,
    metadata: { name: 'web', uid: 'u-1', namespace: 'default', attempt: 0 },
    portMappings: [],
    ...change,
  });
  const bridge = () => ({
    type: 'bridge',
    bridge: 'cni0',
    isGateway: true,
    ipam: {
      type: 'host-local',
      dataDir: path('leases'),
      ranges: [[{ subnet: '10.77.0.0/24' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  });
  const configure = (...plugins: object[]): void => {
    writeFileSync(
      path('net.d', '10-pods.conflist'),
      JSON.stringify({ cniVersion: '1.0.0', name: 'pods', plugins }),
    );
  };
  /** A plugin of the test's: it notes each call, and DEL always succeeds. */
  const script = (name: string, add: string): object => {
    writeFileSync(
      path('bin', name),
      `#!/bin/sh
config=$(cat)
printf '%s\\n' "$CNI_COMMAND" >> '${path(`${name}.calls`)}'
printf '%s' "$config" > '${path(name)}'."$CNI_COMMAND".stdin
env > '${path(name)}'."$CNI_COMMAND".env
[ "$CNI_COMMAND" = DEL ] && exit 0
${add}
`,
      { mode: 0o755 },
    );
    return { type: name };
  };
  const calls = (name: string): string[] =>
    existsSync(path(`${name}.calls`))
      ? readFileSync(path(`${name}.calls`), 'utf8')
          .trim()
          .split('\n')
      : [];
  const stdin = (name: string, command: string): Record<string, unknown> =>
    JSON.parse(readFileSync(path(`${name}.${command}.stdin`), 'utf8')) as Record<string, unknown>;
  const leases = (): string[] =>
    existsSync(path('leases', 'pods'))
      ? readdirSync(path('leases', 'pods')).filter((name) => name.startsWith('10.'))
      : [];
  const assertNothingLeft = async (store: PodNetwork = network): Promise<void> => {
    assert.deepEqual(leases(), []);
    assert.deepEqual((await store.list()).ids, []);
    assert.deepEqual(readdirSync(cacheFolder()), []);
    // The kernel takes a namespace's devices apart in its own time.
    const hasVeth = () => inNetworkNamespace(hostNetns, 'ip', '-o', 'link').includes('veth');
    for (let i = 0; hasVeth() && i < 500; i += 1) await sleep(10);
    assert.equal(hasVeth(), false);
  };

  /** Ends when a plugin has noted its pid and the agent that ran it is dead. */
  const killAgentInAttach = async (): Promise<void> => {
    const parameters: AttachArguments = {
      folders: folders(),
      cacheFolder: cacheFolder(),
      hostNetns,
      request: request(),
    };
    const script = scriptArguments('test/support/attach-for-ever');
    const agent = spawn(process.execPath, [...script, JSON.stringify(parameters)], {
      stdio: 'inherit',
    });
    // Whole, not only there: an empty text would be process 0, which is one's own group to kill(2).
    const isThere = (): boolean =>
      existsSync(path('pid')) && /\n$/.test(readFileSync(path('pid'), 'utf8'));
    for (let i = 0; !isThere() && i < 6000; i += 1) await sleep(10);
    assert.ok(isThere(), 'the plugin has started');
    agent.kill('SIGKILL');
    await once(agent, 'exit');
  };

  before(() => {
    spawner = new ProcessSpawner(loadAddon());
  });

  after(() => {
    spawner.close();
  });

  beforeEach(() => {
    folder = makeTempFolder();
    for (const name of ['net.d', 'bin', 'root/networks'])
      mkdirSync(path(name), { recursive: true });
    hostNetns = path('host.net');
    podNetns = path('pod.net');
    pinNetworkNamespace(hostNetns);
    pinNetworkNamespace(podNetns);
    network = new CniNetwork(folders(), {
      cacheFolder: cacheFolder(),
      run: pluginRunner(spawner, hostNetns),
      lockFile,
      timeoutMs: 10_000,
    });
  });

  afterEach(() => {
    if (existsSync(podNetns)) unpinNetworkNamespace(podNetns);
    unpinNetworkNamespace(hostNetns);
    removeTempFolder(folder);
  });

  it('attaches, reaches the gateway, publishes a port, detaches, and detaches again', async () => {
    configure(bridge(), { type: 'portmap', capabilities: { portMappings: true }, snat: true });
    const portMappings = [
      { protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '' },
      { protocol: 'tcp', containerPort: 81, hostPort: 0, hostIp: '' },
    ] as const;
    const { ips } = await network.attach(request({ portMappings }));
    assert.deepEqual(ips, ['10.77.0.2']);
    assert.match(inNetworkNamespace(podNetns, 'ip', '-o', 'addr', 'show', 'eth0'), /10\.77\.0\.2/);
    const server = spawn('nsenter', [`--net=${podNetns}`, 'perl', '-e', GREETER], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(server.stdout, 'data');
      const fetch = 'exec 3<>/dev/tcp/10.77.0.1/8080; cat <&3';
      assert.equal(
        inNetworkNamespace(hostNetns, 'timeout', '5', 'bash', '-c', fetch),
        'from the pod',
      );
    } finally {
      server.kill();
      await once(server, 'close');
    }
    const rules = inNetworkNamespace(hostNetns, 'iptables', '-t', 'nat', '-S');
    assert.match(rules, /--dport 8080 .*--to-destination 10\.77\.0\.2:80/);
    assert.doesNotMatch(rules, /10\.77\.0\.2:81/);
    assert.deepEqual((await network.list()).ids, [POD]);
    const cached = JSON.parse(readFileSync(cacheFile(), 'utf8')) as { result: { ips: unknown[] } };
    assert.equal(cached.result.ips.length, 1);

    await network.detach(POD);
    await assertNothingLeft();
    assert.doesNotMatch(inNetworkNamespace(hostNetns, 'iptables', '-t', 'nat', '-S'), /8080/);
    assert.doesNotMatch(inNetworkNamespace(podNetns, 'ip', '-o', 'link'), /eth0/);
    await network.detach(POD);
  });

  it('gives the addresses of both families in the order of the plugin', async () => {
    configure({
      type: 'ptp',
      ipam: {
        type: 'host-local',
        dataDir: path('leases'),
        ranges: [[{ subnet: 'fd77::/64' }], [{ subnet: '10.78.0.0/24' }]],
      },
    });
    assert.deepEqual(await network.attach(request()), { ips: ['fd77::2', '10.78.0.2'] });
    await network.detach(POD);
    await assertNothingLeft();
  });

  it('tells plugins who the pod is, and gives the result of one to the next', async () => {
    const seen = {
      ...script('seen', `echo "$config" | ${PREVIOUS}`),
    };
    configure(bridge(), { ...seen, capabilities: { portMappings: true, mac: true }, own: [1] });
    const portMappings = [
      { protocol: 'udp', containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' },
    ] as const;
    await network.attach(request({ portMappings }));
    const { prevResult, ...config } = stdin('seen', 'ADD');
    assert.deepEqual(config, {
      type: 'seen',
      own: [1],
      name: 'pods',
      cniVersion: '1.0.0',
      runtimeConfig: {
        portMappings: [{ protocol: 'udp', containerPort: 53, hostPort: 5353, hostIP: '127.0.0.1' }],
      },
    });
    const env = readFileSync(path('seen.ADD.env'), 'utf8').split('\n');
    assert.ok(env.includes(`CNI_CONTAINERID=${POD}`));
    assert.ok(env.includes(`CNI_NETNS=${podNetns}`));
    assert.ok(env.includes('CNI_IFNAME=eth0'));
    assert.ok(
      env.includes(
        `CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=${POD};K8S_POD_UID=u-1`,
      ),
    );
    // The configuration of ADD is that of DEL, whatever the file says meanwhile.
    configure({ type: 'bridge', bridge: 'other' });
    await network.detach(POD);
    assert.deepEqual(stdin('seen', 'DEL')['own'], [1]);
    assert.deepEqual(stdin('seen', 'DEL')['prevResult'], prevResult);
    await assertNothingLeft();
  });

  it('is ready only when a network is configured and its plugins are there', async () => {
    const confDir = path('net.d');
    assert.deepEqual(await network.status(), {
      ready: false,
      reason: 'NetworkPluginNotReady',
      message: `no network config found in ${confDir}`,
    });
    await assert.rejects(network.attach(request()), { kind: 'unavailable' });
    configure({ type: '../../bin/sh' });
    assert.match((await network.status()).message, /10-pods\.conflist: plugins\.0\.type/);
    configure({ type: 'absent' });
    assert.match((await network.status()).message, /plugin absent is not in .*network\.bin_dirs/);
    configure(bridge());
    assert.deepEqual(await network.status(), { ready: true, reason: '', message: '' });
    network.configure({ confDir: path('elsewhere'), binDirs: PLUGINS });
    assert.equal((await network.status()).ready, false);
  });

  it('runs nothing when a plugin of the chain is missing', async () => {
    configure(bridge(), { type: 'absent' });
    await assert.rejects(network.attach(request()), {
      kind: 'failed-precondition',
      message: /^network pods: plugin absent is not in/,
    });
    await assertNothingLeft();
  });

  it('refuses pod names that would forge an argument', async () => {
    configure(bridge());
    for (const name of ['a;K8S_POD_UID=0', 'a=b', 'a\nb']) {
      const metadata = { name, uid: 'u', namespace: 'n', attempt: 0 };
      await assert.rejects(network.attach(request({ metadata })), { kind: 'invalid-argument' });
    }
    await assertNothingLeft();
  });

  const failures: [what: string, add: string, expected: object][] = [
    [
      'fails',
      `echo '{"cniVersion":"1.0.0","code":11,"msg":"no luck"}'; exit 1`,
      {
        kind: 'unavailable',
        message: 'network pods: ADD of plugin bad failed: no luck (cni error 11)',
      },
    ],
    ['prints junk', 'echo junk', { message: /ADD of plugin bad printed no result but "junk"/ }],
    ['prints nothing', 'true', { message: /ADD of plugin bad printed no result/ }],
    [
      'prints 100 MB',
      'head -c 100000000 /dev/zero',
      { message: /ADD of plugin bad printed more than 1048576 bytes/ },
    ],
    ['kills itself', 'kill -SEGV $$', { message: /ADD of plugin bad failed with signal/ }],
    [
      'loses the addresses',
      `echo '{"cniVersion":"1.0.0"}'`,
      { message: /the result of ADD has no address for eth0/ },
    ],
  ];
  for (const [what, add, expected] of failures) {
    it(`undoes the chain when a later plugin ${what}`, async () => {
      const never = script('never', 'echo never');
      const plugins = [bridge(), script('bad', add)];
      configure(...plugins, ...(what === 'loses the addresses' ? [] : [never]));
      await assert.rejects(network.attach(request()), expected);
      assert.deepEqual(calls('bad'), ['ADD', 'DEL']);
      assert.deepEqual(calls('never'), []);
      await assertNothingLeft();
      // The same pod can be attached once the plugin is mended.
      configure(bridge());
      await network.attach(request());
      await network.detach(POD);
      await assertNothingLeft();
    });
  }

  it('kills a plugin that hangs, with what it started, and undoes the chain', async () => {
    network = new CniNetwork(folders(), {
      cacheFolder: cacheFolder(),
      run: pluginRunner(spawner, hostNetns),
      lockFile,
      timeoutMs: 700,
    });
    configure(bridge(), script('slow', `sleep 1000 & echo $! > '${path('pid')}'; wait`));
    await assert.rejects(network.attach(request()), {
      kind: 'deadline-exceeded',
      message: /^network pods: ADD of plugin slow: .* did not end within 700 ms$/,
    });
    const pid = Number(readFileSync(path('pid'), 'utf8'));
    assert.equal(await isGone(pid), true);
    await assertNothingLeft();
  });

  it('keeps the attachment when its undoing fails, and finishes in a later detach', async () => {
    configure(bridge(), script('bad', 'exit 3'));
    const binary = path('bin', 'bad');
    writeFileSync(binary, `#!/bin/sh\n[ -e '${path('mended')}' ] || exit 3\n`, { mode: 0o755 });
    await assert.rejects(
      network.attach(request()),
      /ADD of plugin bad failed with exit code 3.*; and undoing it failed: .*DEL of plugin bad/,
    );
    assert.deepEqual(leases(), [], 'the bridge got its DEL all the same');
    assert.deepEqual((await network.list()).ids, [POD]);
    await assert.rejects(network.detach(POD), /cannot detach sandbox a+ from its network/);
    writeFileSync(path('mended'), '');
    await network.detach(POD);
    await assertNothingLeft();
  });

  it('releases what a killed agent attached halfway', async () => {
    configure(bridge(), script('slow', `echo $$ > '${path('pid')}'; exec sleep 1000`));
    await killAgentInAttach();
    process.kill(Number(readFileSync(path('pid'), 'utf8')), 'SIGKILL');
    assert.deepEqual(leases(), ['10.77.0.2']);
    assert.equal(
      (JSON.parse(readFileSync(cacheFile(), 'utf8')) as { result: unknown }).result,
      null,
    );

    assert.deepEqual((await network.list()).ids, [POD]);
    await network.detach(POD);
    assert.deepEqual(calls('slow'), ['ADD', 'DEL']);
    await assertNothingLeft();
  });

  it('lets a plugin that outlived its agent end before it undoes its work', async () => {
    const late = `echo $$ > '${path('pid')}'; sleep 1; echo late >> '${path('late.calls')}'`;
    configure(bridge(), script('late', late));
    await killAgentInAttach();
    await network.detach(POD);
    assert.deepEqual(calls('late'), ['ADD', 'late', 'DEL']);
    await assertNothingLeft();
  });

  it('does not wait for ever, nor twice, for a daemon that a plugin left behind', async () => {
    const daemon = `sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > '${path('pid')}'`;
    configure(bridge(), script('left', `${daemon}; echo "$config" | ${PREVIOUS}`));
    await network.attach(request());
    try {
      const before = performance.now();
      await network.detach(POD);
      assert.ok(performance.now() - before < 2000);
      await assertNothingLeft();
    } finally {
      process.kill(Number(readFileSync(path('pid'), 'utf8')), 'SIGKILL');
    }
  });

  it('detaches first when it is asked to attach what is attached', async () => {
    configure(bridge());
    await network.attach(request());
    await network.attach(request());
    assert.equal(leases().length, 1);
    await network.detach(POD);
    await assertNothingLeft();
  });

  it('releases the lease when the namespace is gone, or a plain file as after a reboot', async () => {
    configure(bridge(), { type: 'portmap', capabilities: { portMappings: true } });
    for (const isFile of [false, true]) {
      await network.attach(request());
      unpinNetworkNamespace(podNetns);
      if (isFile) writeFileSync(podNetns, '');
      await network.detach(POD);
      await assertNothingLeft();
      rmSync(podNetns, { force: true });
      pinNetworkNamespace(podNetns);
    }
  });

  it('releases by id when the cached attachment is destroyed, and refuses a newer one', async () => {
    configure(bridge());
    await network.attach(request());
    const good = readFileSync(cacheFile(), 'utf8');
    writeFileSync(cacheFile(), '{"version": 2}');
    await assert.rejects(network.detach(POD), {
      kind: 'failed-precondition',
      message: /version 2/,
    });
    assert.equal(readFileSync(cacheFile(), 'utf8'), '{"version": 2}');
    writeFileSync(cacheFile(), good.slice(0, 40));
    await network.detach(POD);
    assert.deepEqual(leases(), []);
    assert.deepEqual((await network.list()).ids, []);
  });

  it('clears away what a killed save left', async () => {
    writeFileSync(path('root', 'networks', `.${POD}.json.000000000001-1.tmp`), '{"ver');
    writeFileSync(path('root', 'networks', `${POD}.lock`), '');
    assert.deepEqual((await network.list()).ids, []);
    await assertNothingLeft();
  });
});

/** A zombie counts: reaping it is the business of init. */
async function isGone(pid: number): Promise<boolean> {
  for (let i = 0; i < 200; i += 1) {
    if (!existsSync(`/proc/${pid}/stat`)) return true;
    if (/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) return true;
    await sleep(10);
  }
  return false;
}
