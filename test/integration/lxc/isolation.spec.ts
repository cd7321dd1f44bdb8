/** Shared namespaces, devices, and what the engine itself leaves open. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LxcFixture } from '../../support/lxc-fixture.js';
import { isAlive, until } from '../../support/processes.js';

const ALL_CAPABILITIES = Array.from({ length: 41 }, (_, bit) => bit);

describe('isolation', () => {
  let fixture: LxcFixture;
  before(() => {
    fixture = new LxcFixture();
  });
  after(async () => {
    await fixture.close();
  });

  it('joins the namespaces of a pod', async () => {
    const folder = join(fixture.folder, 'pins');
    mkdirSync(folder);
    const paths = Object.fromEntries(
      ['net', 'ipc', 'uts'].map((kind) => [kind, join(folder, kind)] as const),
    );
    for (const path of Object.values(paths)) writeFileSync(path, '');
    const { addon } = fixture.spawner;
    await addon.pinNamespaces({ ...paths, hostname: 'the-pod' });
    try {
      const namespaces = {
        network: paths['net']!,
        ipc: paths['ipc']!,
        uts: paths['uts']!,
        pid: 'new',
      };
      const script = 'hostname; readlink /proc/self/ns/net /proc/self/ns/ipc; ls /sys/class/net';
      const [one, two] = await Promise.all([
        fixture.output(script, { namespaces }),
        fixture.output(script, { namespaces }),
      ]);
      assert.equal(one, two);
      assert.match(one, /^the-pod\n/);
      assert.match(one, /\nlo$/);
    } finally {
      for (const path of Object.values(paths)) addon.unmount(path);
    }
  });

  it('joins the PID namespace of another container, and dies with it', async () => {
    const target = fixture.spec('exec sleep 100');
    const { pid } = await fixture.run(target);
    const namespaces = { network: 'new', ipc: 'new', uts: 'new', pid: `/proc/${pid}/ns/pid` };
    const guest = fixture.spec('cat /proc/1/cmdline; echo; exec sleep 101', { namespaces });
    const started = await fixture.run(guest);
    await until(() => fixture.log(guest).length === 1);
    assert.equal(fixture.log(guest)[0]?.[2], 'sleep\x00100\x00');
    assert.equal((await fixture.exec(guest, ['/bin/true'])).exitCode, 0);
    await fixture.engine.signal(target.id, target.runDirectory, 9);
    await fixture.wait(target);
    assert.equal((await fixture.wait(guest)).exitCode, 137);
    assert.equal(isAlive(started.pid), false);
  });

  it('lets no sibling look into a held init that has joined its PID namespace', async () => {
    const target = fixture.spec('exec sleep 100');
    const { pid } = await fixture.run(target);
    const namespaces = { network: 'new', ipc: 'new', uts: 'new', pid: `/proc/${pid}/ns/pid` };
    await fixture.create(fixture.spec('', { namespaces }));
    const script =
      'for p in /proc/[0-9]*; do grep -q pvecri-init $p/comm && ' +
      '{ cat $p/fd/1; echo x >> $p/fd/1; ls $p/root/; ls $p/cwd/; cat $p/environ; }; done 2>&1';
    const result = await fixture.exec(target, ['/bin/sh', '-c', script]);
    const lines = Buffer.from(result.stdout).toString().trim().split('\n');
    assert.equal(lines.length, 5, lines.join());
    for (const line of lines) assert.match(line, /Permission denied/);
  });

  it('ends, and is not started again, by reboot(2) in its own PID namespace', async () => {
    const spec = fixture.spec('echo run; sleep 0.1; reboot -f; sleep 100', {
      process: { capabilities: ALL_CAPABILITIES },
    });
    assert.equal(spec.namespaces.pid, 'new');
    await fixture.run(spec);
    const exit = await fixture.wait(spec);
    assert.equal(exit.exitCode, 129);
    assert.deepEqual(fixture.log(spec), [['stdout', 'F', 'run']]);
  });

  const devices =
    'mknod /tmp/kmsg c 1 11; mknod /tmp/null c 1 3; ' +
    'for d in kmsg null; do (exec 3</tmp/$d) 2>&1 | grep -o "Operation not permitted" || echo $d; done; ' +
    'for d in null zero full random urandom tty ptmx; do (exec 3<>/dev/$d) 2>&1 | grep -o "Operation not permitted"; done; true';

  it('opens no device of the host, although it can make its node', async () => {
    const text = await fixture.output(devices);
    assert.equal(text, 'Operation not permitted\nnull');
  });

  it('keeps an exec from the devices too', async () => {
    const spec = fixture.spec('exec sleep 100');
    await fixture.run(spec);
    const result = await fixture.exec(spec, ['/bin/sh', '-c', devices]);
    assert.equal(Buffer.from(result.stdout).toString(), 'Operation not permitted\nnull\n');
  });

  it('opens them when privileged', async () => {
    const text = await fixture.output(devices, {
      privileged: true,
      process: { capabilities: ALL_CAPABILITIES },
    });
    assert.equal(text, 'kmsg\nnull');
  });

  it('leaves no descriptor open in the agent', async () => {
    const open = (): number => readdirSync('/proc/self/fd').length;
    const round = async (): Promise<void> => {
      const spec = fixture.spec('exec sleep 100');
      await fixture.run(spec);
      await fixture.exec(spec, ['/bin/true']);
      await assert.rejects(fixture.exec(spec, ['/nope']));
      const failing = fixture.spec('', { logPath: '/nope/log' });
      await assert.rejects(fixture.create(failing));
      await fixture.engine.signal(spec.id, spec.runDirectory, 9);
      await fixture.wait(spec);
    };
    await round();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const before = open();
    for (let i = 0; i < 10; i += 1) await round();
    await until(() => open() <= before);
  });
});
