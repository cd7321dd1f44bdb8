import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, readFileSync, readSync, writeSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { loadAddon } from '../../../src/native/binding.js';
import { openDescriptors, settlesAt } from '../../support/descriptors.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

/** O_CLOEXEC as /proc shows it. */
function closesOnExec(fd: number): boolean {
  const flags =
    /flags:\t([0-7]+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
  return (Number.parseInt(flags, 8) & 0o2000000) !== 0;
}

function descriptorOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

describe('descriptors', () => {
  const addon = loadAddon();
  let descriptors: number;
  let folder: string;

  beforeEach(() => {
    folder = makeTempFolder();
    descriptors = openDescriptors();
  });

  afterEach(async () => {
    assert.ok(await settlesAt(openDescriptors, descriptors), 'a descriptor was left open');
    removeTempFolder(folder);
  });

  it('pipe makes two ends that no child inherits', () => {
    const { read, write } = addon.pipe();
    assert.ok(closesOnExec(read) && closesOnExec(write));
    writeSync(write, 'x');
    const buffer = Buffer.alloc(4);
    assert.equal(readSync(read, buffer), 1);
    closeSync(read);
    assert.throws(() => writeSync(write, 'x'), { code: 'EPIPE' });
    closeSync(write);
  });

  it('socketPair makes two ends of one connection that no child inherits', () => {
    const [one, other] = addon.socketPair();
    assert.ok(closesOnExec(one) && closesOnExec(other));
    const buffer = Buffer.alloc(4);
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const) {
      writeSync(from, 'x');
      assert.equal(readSync(to, buffer), 1);
    }
    closeSync(one);
    assert.equal(readSync(other, buffer), 0);
    closeSync(other);
  });

  it('memfd holds its content, sealed', async () => {
    const content = Buffer.alloc(200_000, 'pvecri');
    const fd = addon.memfd('a name', content);
    assert.ok(closesOnExec(fd));
    assert.ok(readFileSync(fd).equals(content));
    assert.throws(() => writeSync(fd, 'x'), { code: 'EBADF' });
    // Not even whoever opens it anew can change it.
    const { openSync, ftruncateSync } = await import('node:fs');
    const again = openSync(`/proc/self/fd/${fd}`, 'r+');
    assert.throws(() => writeSync(again, 'x', 0), { code: 'EPERM' });
    assert.throws(
      () => {
        ftruncateSync(again, 0);
      },
      { code: 'EPERM' },
    );
    closeSync(again);
    closeSync(fd);
    const empty = addon.memfd('', new Uint8Array());
    assert.equal(readFileSync(empty).length, 0);
    closeSync(empty);
    assert.throws(() => addon.memfd('n'.repeat(300), content), { code: 'EINVAL' });
  });

  it('peerCredentials tells who connected', async () => {
    const path = join(folder, 'socket');
    const server = createServer().listen(path);
    await once(server, 'listening');
    const client = createConnection(path);
    const [accepted] = (await once(server, 'connection')) as [Socket];
    assert.deepEqual(addon.peerCredentials(descriptorOf(accepted)), {
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    accepted.destroy();
    client.destroy();
    server.close();
    await once(server, 'close');
  });

  it('peerCredentials refuses what has no peer', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const client = createConnection(port, '127.0.0.1');
    const [accepted] = (await once(server, 'connection')) as [Socket];
    assert.throws(() => addon.peerCredentials(descriptorOf(accepted)), { code: 'ENOTCONN' });
    accepted.destroy();
    client.destroy();
    server.close();
    await once(server, 'close');
    assert.throws(() => addon.peerCredentials(0), { syscall: 'getsockopt' });
  });

  it('lockFile shuts others out until it is closed', () => {
    const path = join(folder, 'lock');
    const fd = addon.lockFile(path);
    assert.ok(closesOnExec(fd));
    assert.throws(() => addon.lockFile(path), { code: 'EAGAIN', syscall: 'flock' });
    closeSync(fd);
    closeSync(addon.lockFile(path));
  });
});

describe('notify', () => {
  const addon = loadAddon();
  const before = process.env['NOTIFY_SOCKET'];

  afterEach(() => {
    if (before === undefined) delete process.env['NOTIFY_SOCKET'];
    else process.env['NOTIFY_SOCKET'] = before;
  });

  it('does nothing without NOTIFY_SOCKET', () => {
    delete process.env['NOTIFY_SOCKET'];
    assert.equal(addon.notify('READY=1'), false);
    process.env['NOTIFY_SOCKET'] = '';
    assert.equal(addon.notify('READY=1'), false);
  });

  it('says so when nobody listens, or the address is none', () => {
    process.env['NOTIFY_SOCKET'] = '/nowhere/notify';
    assert.throws(() => addon.notify('READY=1'), { code: 'ENOENT', path: '/nowhere/notify' });
    process.env['NOTIFY_SOCKET'] = 'relative';
    assert.throws(() => addon.notify('READY=1'), { code: 'EINVAL' });
    process.env['NOTIFY_SOCKET'] = `/${'n'.repeat(200)}`;
    assert.throws(() => addon.notify('READY=1'), { code: 'EINVAL' });
  });

  for (const [kind, address] of [
    ['a path', `/tmp/pvecri-test-notify-${process.pid}`],
    ['an abstract name', `@pvecri-test-notify-${process.pid}`],
  ] as const) {
    it(`sends one datagram to ${kind}`, async () => {
      // Node has no unix datagram sockets: Perl is part of every Debian.
      const { spawn } = await import('node:child_process');
      const receiver = spawn('/usr/bin/perl', [
        '-MSocket',
        '-e',
        `my $n = $ARGV[0]; my $a = $n; $a =~ s/^@/\\0/;
         socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; bind($s, pack_sockaddr_un($a)) or die $!;
         $| = 1; print "ready\\n"; alarm 10; recv($s, my $m, 1000, 0); print $m; unlink $n;`,
        address,
      ]);
      const chunks: string[] = [];
      receiver.stdout.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
      await once(receiver.stdout, 'data');
      process.env['NOTIFY_SOCKET'] = address;
      assert.equal(addon.notify('READY=1\nSTATUS=12 pods'), true);
      await once(receiver, 'close');
      assert.equal(chunks.join(''), 'ready\nREADY=1\nSTATUS=12 pods');
    });
  }
});
