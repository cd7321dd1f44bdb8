/** Pods with a user namespace: who their ids are on the host, what works in them, what is refused. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { MountPropagation } from '../../../src/cri/gen/mount.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { SupplementalGroupsPolicy } from '../../../src/cri/gen/security.js';
import { TestAgent } from '../../support/agent.js';
import { PodClient } from '../../support/pod-client.js';

const { POD, CONTAINER, NODE, TARGET } = NamespaceMode;
const LENGTH = 65_536;
const FIRST = 10 * LENGTH;
const SECOND = 11 * LENGTH;

const range = (hostId: number, length = LENGTH, containerId = 0) => ({
  hostId,
  containerId,
  length,
});
const map = (hostId: number, length = LENGTH) => ({
  mode: POD,
  uids: [range(hostId, length)],
  gids: [range(hostId, length)],
});
const idmapped = (hostId: number) => ({
  uidMappings: [range(hostId)],
  gidMappings: [range(hostId)],
});

describe('user namespaces', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;
  let other: string;

  type Options = Partial<{
    pid: NamespaceMode;
    network: NamespaceMode;
    ipc: NamespaceMode;
    privileged: boolean;
    sysctls: [string, string][];
  }>;
  const inNamespace = (
    usernsOptions: object,
    { pid = CONTAINER, network = POD, ipc = POD, privileged = false, sysctls = [] }: Options = {},
  ) => ({
    linux: {
      sysctls: new Map(sysctls),
      securityContext: {
        privileged,
        namespaceOptions: { network, pid, ipc, usernsOptions },
      },
    },
  });

  before(async function () {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    const { runtimeHandlers } = await agent.client.runtime.status({ verbose: false });
    if (!runtimeHandlers[0]?.features?.userNamespaces) {
      await agent.close();
      this.skip(); // No user namespaces, or no idmapped mounts of this file system.
    }
    await pods.pull();
    const sysctls: [string, string][] = [
      ['net.ipv4.ip_unprivileged_port_start', '81'],
      ['kernel.shmmni', '77'],
      ['fs.mqueue.msg_max', '13'],
    ];
    pod = await pods.run('one', inNamespace(map(FIRST), { pid: POD, sysctls }));
    other = await pods.run('two', inNamespace(map(SECOND)));
  });

  after(async () => {
    await pods.removePod(pod);
    await pods.removePod(other);
    assert.deepEqual(await agent.close(), []);
  });

  it('are told of by Status, and of a pod by its status', async () => {
    const { linux } = await pods.podStatus(pod);
    assert.deepEqual(linux?.namespaces?.options?.usernsOptions, map(FIRST));
  });

  it('are one for all containers of a pod, and own its other namespaces', async () => {
    const script =
      'cat /proc/self/uid_map /proc/self/gid_map; readlink /proc/self/ns/user; ' +
      'ip link add d0 type dummy 2>&1; ip link del d0 2>&1; ip link set lo down && ip link set lo up; hostname x && hostname';
    const capabilities = { addCapabilities: ['NET_ADMIN', 'SYS_ADMIN'] };
    const linux = { securityContext: { capabilities } };
    const [one, again, two] = [
      await pods.output(pod, script, { linux }),
      await pods.output(pod, script, { linux }),
      await pods.output(other, script, { linux }),
    ];
    assert.equal(one, again);
    assert.notEqual(one, two);
    const [uids, gids, , ...rest] = one.split('\n');
    assert.match(uids ?? '', new RegExp(`^\\s+0\\s+${FIRST}\\s+${LENGTH}$`));
    assert.match(gids ?? '', new RegExp(`^\\s+0\\s+${FIRST}\\s+${LENGTH}$`));
    assert.equal(rest.at(-1), 'x');
    assert.equal(one.includes('not permitted'), false, one);
  });

  it('have the sysctls of the pod, those of their IPC namespace included', async () => {
    const keys = 'net/ipv4/ip_unprivileged_port_start kernel/shmmni fs/mqueue/msg_max';
    const script = `cd /proc/sys; cat ${keys}`;
    assert.equal(await pods.output(pod, script), '81\n77\n13');
    assert.notEqual(readFileSync('/proc/sys/kernel/shmmni', 'utf8').trim(), '77');
  });

  it('make root of the container an ordinary user of the host', async () => {
    const id = await pods.begin(pod, 'sleep 1000');
    const info = await agent.client.runtime.containerStatus({ containerId: id, verbose: true });
    const { pid } = JSON.parse(info.info.get('info') ?? '{}') as { pid: number };
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    assert.match(status, new RegExp(`^Uid:\\s+${FIRST}\\s+${FIRST}`, 'm'));
    assert.match(status, new RegExp(`^Gid:\\s+${FIRST}\\s`, 'm'));
    assert.deepEqual((await pods.status(id)).user?.linux?.uid, 0n);
    await pods.remove(id);
  });

  it('see the image, and write its files, as its own ids do', async () => {
    const script =
      'stat -c "%u:%g" / /bin/busybox /etc/hosts /etc/resolv.conf /dev/shm /dev/null; touch /made; chown 1000:1001 /made; stat -c "%u:%g" /made; ' +
      'echo x > /dev/shm/f; stat -c %u /dev/shm/f; echo 127.0.0.9 me >> /etc/hosts && grep -c me /etc/hosts';
    const lines = (await pods.output(pod, script)).split('\n');
    assert.deepEqual(lines.slice(0, 5), ['0:0', '0:0', '0:0', '0:0', '0:0']);
    assert.deepEqual(lines.slice(6), ['1000:1001', '0', '1']);
    const id = await pods.begin(pod, 'touch /mine; chown 1000 /mine; sleep 1000');
    await pods.exec(id, 'until [ -e /mine ]; do :; done; sleep 0.2');
    const upper = join(agent.root, 'rootfs', id, 'fs/mine');
    assert.equal(statSync(upper).uid, FIRST + 1000);
    await pods.remove(id);
  });

  it('run commands of all kinds in them, with their users, groups and stdio', async () => {
    const id = await pods.begin(pod, 'sleep 1000', {
      linux: {
        securityContext: {
          runAsUser: { value: 1000n },
          runAsGroup: { value: 1001n },
          supplementalGroups: [1002n],
          supplementalGroupsPolicy: SupplementalGroupsPolicy.Strict,
          noNewPrivs: true,
        },
        resources: { oomScoreAdj: 500n },
      },
    });
    const said = await pods.exec(
      id,
      'id -u; id -G; cat /proc/self/uid_map /proc/self/oom_score_adj; echo out > /dev/stdout; echo err > /dev/stderr',
    );
    const [user, groups, uids, score, ...rest] = said.split('\n');
    assert.deepEqual([user, groups, score], ['1000', '1001 1002', '500']);
    assert.match(uids ?? '', new RegExp(`${FIRST}`));
    assert.deepEqual(rest.filter((line) => line === 'out' || line === 'err').sort(), [
      'err',
      'out',
    ]);
    assert.deepEqual((await pods.status(id)).user?.linux?.supplementalGroups, [1001n, 1002n]);
    await pods.remove(id);
    const output = await pods.output(pod, 'echo out > /dev/stdout; tty; stty size', { tty: true });
    assert.match(output, /out/);
    assert.match(output, /\/dev\/pts\//);
  });

  it('give devices that work, belong to the container and cannot be made in it', async () => {
    const nodes = join(agent.folder, 'node');
    execFileSync('mknod', [nodes, 'c', '1', '5']);
    chmodSync(nodes, 0o666);
    const devices = [{ hostPath: nodes, containerPath: '/dev/given/zero', permissions: 'rw' }];
    const script =
      'head -c 3 /dev/given/zero | wc -c; echo > /dev/null && chmod 600 /dev/given/zero && stat -c %a:%u /dev/given/zero; ' +
      'mknod /tmp-null c 1 3 2>&1; mkdir /m; mount -t tmpfs none /m 2>&1; head -c 1 /dev/urandom | wc -c';
    const said = await pods.output(pod, script, { devices });
    assert.match(said, /^3\n600:0\n.*not permitted\nmount: permission denied[^\n]*\n1$/);
    assert.equal(statSync(nodes).mode & 0o777, 0o666);
    const linux = { securityContext: { capabilities: { addCapabilities: ['ALL'] } } };
    const strong = await pods.output(
      pod,
      'mknod /n b 7 0 2>&1; cat /proc/self/status | grep CapEff',
      {
        linux,
      },
    );
    assert.match(strong, /not permitted/);
  });

  it('map the owners of volumes, and keep root of the container from those that are not mapped', async () => {
    const host = join(agent.folder, 'volumes');
    for (const name of ['mapped', 'plain']) {
      mkdirSync(join(host, name), { recursive: true });
      writeFileSync(join(host, name, 'roots'), 'secret', { mode: 0o600 });
    }
    chmodSync(join(host, 'plain'), 0o755);
    const mount = (name: string, more: object = {}) => ({
      hostPath: join(host, name),
      containerPath: `/${name}`,
      propagation: MountPropagation.PROPAGATION_PRIVATE,
      ...more,
    });
    const mounts = [mount('mapped', idmapped(FIRST)), mount('plain')];
    const script =
      'cat /mapped/roots; echo; echo new > /mapped/new; chown 5:6 /mapped/new; stat -c %u /mapped/roots /plain/roots; ' +
      'cat /plain/roots 2>&1; echo x 2>&1 > /plain/new; chown 0 /plain/roots 2>&1; rm -f /plain/roots 2>&1; cp /bin/busybox /mapped/su; chmod 4755 /mapped/su';
    const linux = { securityContext: { capabilities: { addCapabilities: ['ALL'] } } };
    const id = await pods.begin(pod, script, { mounts, linux });
    await pods.ended(id);
    const { mounts: told, metadata } = await pods.status(id);
    assert.deepEqual(told[0]?.uidMappings, [range(FIRST)]);
    assert.deepEqual(told[0].gidMappings, [range(FIRST)]);
    assert.deepEqual(told[1]?.uidMappings, []);
    const said = agent.readLog(`${metadata?.name}.log`);
    assert.match(said, / secret\n/);
    assert.match(said, / 0\n[^]* 65534\n/);
    assert.equal(said.match(/denied|not permitted/gi)?.length, 4, said);
    assert.deepEqual(
      [lstatSync(join(host, 'mapped/new')).uid, lstatSync(join(host, 'mapped/new')).gid],
      [5, 6],
    );
    assert.equal(readFileSync(join(host, 'plain/roots'), 'utf8'), 'secret');
    assert.equal(existsSync(join(host, 'plain/new')), false);
    await pods.remove(id);
    // Neither does another pod get at the files of the first one where nothing is mapped.
    const owned = join(host, 'mapped/firsts');
    writeFileSync(owned, 'private', { mode: 0o600 });
    execFileSync('chown', [`${FIRST}:${FIRST}`, owned]);
    const foreign = await pods.output(other, 'cat /mapped/firsts 2>&1; true', {
      mounts: [mount('mapped')],
      linux,
    });
    assert.match(foreign, /denied/);
  });

  it('refuse volumes of file systems without idmapped mounts, by name', async () => {
    const mounts = [{ hostPath: '/proc/sys', containerPath: '/x', ...idmapped(FIRST) }];
    await assert.rejects(pods.create(pod, 'true', { mounts }), {
      kind: 'failed-precondition',
      message: /"\/proc\/sys", whose file system has no idmapped mounts/,
    });
  });

  it('let a privileged container have rights in them, and none on the host', async () => {
    const privileged = await pods.run(
      'privileged',
      inNamespace(map(20 * LENGTH), { privileged: true }),
    );
    const linux = { securityContext: { privileged: true } };
    const said = await pods.output(
      privileged,
      'mkdir /m; mount -t tmpfs none /m && echo mounted; echo 1 2>&1 > /proc/sys/vm/drop_caches; mknod /n c 1 3 2>&1; ls /sys/kernel/security >/dev/null; dd if=/dev/null count=1 2>/dev/null && echo null',
      { linux },
    );
    assert.match(said, /mounted/);
    assert.match(said, /(denied|Read-only)/);
    assert.match(said, /not permitted/);
    await pods.removePod(privileged);
  });

  it('refuse what a pod cannot have', async () => {
    const refused: [name: string, options: object, more: Options, message: RegExp][] = [
      ['no-maps', { mode: POD }, {}, /uids: 0 mappings/],
      [
        'two',
        { mode: POD, uids: [range(1000), range(2000)], gids: [range(1000)] },
        {},
        /uids: 2 mappings .*1000.*2000/,
      ],
      ['no-gids', { mode: POD, uids: [range(1000)], gids: [] }, {}, /gids: 0 mappings/],
      ['empty', map(1000, 0), {}, /length 0 is empty/],
      ['no-root', { ...map(1000), gids: [range(1000, 10, 1)] }, {}, /leaves out container id 0/],
      ['host-root', map(0), {}, /includes host id 0/],
      ['too-high', map(4_294_967_000), {}, /ends above host id 4294967294/],
      ['container', { mode: CONTAINER }, {}, /userns_options.mode CONTAINER is not possible/],
      ['target', { mode: TARGET }, {}, /userns_options.mode TARGET is not possible/],
      ['node', { ...map(1000), mode: NODE }, {}, /mode NODE, which has none/],
      ['host-network', map(30 * LENGTH), { network: NODE }, /namespace_options.network NODE/],
      ['host-pid', map(30 * LENGTH), { pid: NODE }, /namespace_options.pid NODE/],
      ['host-ipc', map(30 * LENGTH), { ipc: NODE }, /namespace_options.ipc NODE/],
    ];
    for (const [name, options, more, message] of refused) {
      const { network, ...others } = more;
      await assert.rejects(
        pods.run(name, inNamespace(options, { ...others, ...(network && { network }) })),
        { kind: 'invalid-argument', message },
        name,
      );
    }
    await assert.rejects(pods.run('overlap', inNamespace(map(FIRST + LENGTH - 1, 1))), {
      kind: 'failed-precondition',
      message: /default\/one\): uids 720895 to 720895/,
    });
  });

  it('refuse what a container cannot have in them', async () => {
    const security = (securityContext: object) => ({ linux: { securityContext } });
    const options = (usernsOptions: object) =>
      security({ namespaceOptions: { pid: CONTAINER, usernsOptions } });
    const mounts = (hostId: number) => ({
      mounts: [{ hostPath: agent.folder, containerPath: '/x', ...idmapped(hostId) }],
    });
    const refused: [change: object, message: RegExp][] = [
      [options(map(SECOND)), /but pod sandbox .* has uids: .* 655360/],
      [options({ mode: NODE }), /has mode NODE, but pod/],
      [security({ namespaceOptions: { pid: NODE } }), /pid NODE cannot be in a pod/],
      [security({ runAsUser: { value: 65536n } }), /user 65536 is not mapped/],
      [security({ supplementalGroups: [70000n] }), /group 70000 is not mapped/],
      [mounts(SECOND), /mount \/x has mappings of .*720896.* but pod sandbox/],
    ];
    for (const [change, message] of refused) {
      await assert.rejects(pods.create(pod, 'true', change), { kind: 'invalid-argument', message });
    }
    const plain = await pods.run('plain');
    await assert.rejects(pods.create(plain, 'true', mounts(FIRST)), {
      kind: 'invalid-argument',
      message: /has the host's: they must be the same/,
    });
    await pods.removePod(plain);
  });

  it('outlive the agent, with what runs in them', async () => {
    const id = await pods.begin(pod, 'sleep 1000');
    await agent.stop('SIGKILL');
    await agent.start();
    assert.equal(await pods.exec(id, 'id -u; grep -c . /proc/self/uid_map'), '0\n1');
    assert.match(await pods.output(pod, 'cat /proc/self/uid_map'), new RegExp(`${FIRST}`));
    await pods.remove(id);
  });
});
