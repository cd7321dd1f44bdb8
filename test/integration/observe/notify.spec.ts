/** READY through the real systemd-notify program and a real socket, and without the program. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Notifier } from '../../../src/observe/notify.js';
import { withTempFolder } from '../../support/temp.js';

// Node has no unix datagram sockets; perl is part of every Debian.
const RECEIVER = `
  use Socket; $| = 1;
  socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; bind($s, sockaddr_un($ARGV[0])) or die;
  while (defined recv($s, my $m, 4096, 0)) { $m =~ s/\\n/|/g; print "$m\\n"; }`;

async function received(work: () => Promise<void>, path: string): Promise<string> {
  const receiver: ChildProcess = spawn('perl', ['-e', RECEIVER, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  receiver.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  try {
    for (let i = 0; !existsSync(path) && i < 200; i += 1) await sleep(10);
    chmodSync(path, 0o666);
    await work();
    for (let i = 0; !output.includes('\n') && i < 100; i += 1) await sleep(10);
    return output;
  } finally {
    receiver.kill();
    await once(receiver, 'close');
  }
}

describe('Notifier with a service manager', () => {
  const saved = { socket: process.env['NOTIFY_SOCKET'], path: process.env['PATH'] };

  afterEach(() => {
    if (saved.socket === undefined) delete process.env['NOTIFY_SOCKET'];
    else process.env['NOTIFY_SOCKET'] = saved.socket;
    process.env['PATH'] = saved.path;
  });

  function make() {
    const direct: string[] = [];
    const warnings: string[] = [];
    const ignore = (): void => undefined;
    const notifier = new Notifier({
      notify: (message) => direct.push(message) > 0,
      log: {
        debug: ignore,
        info: ignore,
        warn: (fields, message) => warnings.push(`${message}: ${String(fields['err'])}`),
        error: ignore,
      },
    });
    return { notifier, direct, warnings };
  }

  it('sends READY, our pid and the status through the program', () =>
    withTempFolder(async (folder) => {
      const path = join(folder, 'notify');
      process.env['NOTIFY_SOCKET'] = path;
      const { notifier, direct, warnings } = make();
      const output = await received(() => notifier.ready('12 pods\nfound'), path);
      assert.match(output, /READY=1/);
      assert.match(output, /STATUS=12 pods found/);
      assert.match(output, new RegExp(`MAINPID=${process.pid}`));
      assert.deepEqual([direct, warnings], [[], []]);
    }));

  it('sends READY by itself when the program is missing or fails', async () => {
    process.env['NOTIFY_SOCKET'] = '/nonexistent/notify';
    for (const path of [saved.path, '/nonexistent']) {
      process.env['PATH'] = path;
      const { notifier, direct, warnings } = make();
      await notifier.ready('up');
      assert.deepEqual(direct, [`READY=1\nMAINPID=${process.pid}\nSTATUS=up`]);
      assert.match(warnings.join(), /without the systemd-notify program/);
    }
  });
});
