/** What is sent, when, and that nothing is without a manager. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../../src/core/logger.js';
import { Notifier } from '../../../src/observe/notify.js';

function make(env: Record<string, string>) {
  const sent: string[] = [];
  const logged: string[] = [];
  const write = (_: unknown, message: string): void => {
    logged.push(message);
  };
  const log: Logger = { debug: write, info: write, warn: write, error: write };
  const notify = (message: string): boolean => sent.push(message) > 0;
  return { notifier: new Notifier({ notify, log, env }), sent, logged };
}

describe('Notifier', () => {
  it('does nothing without NOTIFY_SOCKET', async () => {
    const { notifier, sent, logged } = make({ WATCHDOG_USEC: '2000' });
    await notifier.ready('up');
    notifier.status('x');
    notifier.reloading();
    notifier.reloaded('x');
    notifier.stopping('x');
    notifier.startWatchdog(() => assert.fail('must not be asked')).stop();
    assert.deepEqual([sent, logged], [[], []]);
  });

  it('keeps a status on one line, so that it can set no other variable', () => {
    const { notifier, sent } = make({ NOTIFY_SOCKET: '/x' });
    notifier.status('a\nMAINPID=1');
    notifier.stopping('b');
    assert.deepEqual(sent, ['STATUS=a MAINPID=1', 'STOPPING=1\nSTATUS=b']);
  });

  it('gives the monotonic time of a reload', () => {
    const { notifier, sent } = make({ NOTIFY_SOCKET: '/x' });
    notifier.reloading();
    notifier.reloaded('fine');
    const usec = Number(/^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(sent[0] ?? '')?.[1]);
    assert.ok(Math.abs(usec - Number(process.hrtime.bigint() / 1000n)) < 5_000_000);
    assert.equal(sent[1], 'READY=1\nSTATUS=fine');
  });

  it('pings the watchdog while the agent is healthy, and stays silent when it is not', async () => {
    const { notifier, sent, logged } = make({ NOTIFY_SOCKET: '/x', WATCHDOG_USEC: '20000' });
    let answer: () => boolean = () => true;
    const watchdog = notifier.startWatchdog(() => answer());
    await sleep(80);
    assert.ok(sent.length >= 2 && sent.every((text) => text === 'WATCHDOG=1'), sent.join());
    answer = () => false;
    const before = sent.length;
    await sleep(40);
    answer = () => assert.fail('sick');
    await sleep(40);
    assert.equal(sent.length, before);
    assert.match(logged.join(), /not healthy.*health check failed/);
    watchdog.stop();
  });

  it('does not answer for a check that hangs', async () => {
    const { notifier, sent } = make({ NOTIFY_SOCKET: '/x', WATCHDOG_USEC: '4000' });
    const watchdog = notifier.startWatchdog(() => new Promise<boolean>(() => undefined));
    await sleep(30);
    watchdog.stop();
    assert.deepEqual(sent, []);
  });

  it('leaves the watchdog of another process alone', () => {
    const { notifier, sent } = make({
      NOTIFY_SOCKET: '/x',
      WATCHDOG_USEC: '2000',
      WATCHDOG_PID: '1',
    });
    notifier.startWatchdog(() => true).stop();
    assert.deepEqual(sent, []);
  });
});
