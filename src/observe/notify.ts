/** Tells systemd how the agent is doing, by the protocol of sd_notify(3). Silent without a manager. */
import systemdNotify from 'systemd-notify';
import { wrap } from '../core/errors.js';
import type { Logger } from '../core/logger.js';

/** The addon's notify: one datagram to NOTIFY_SOCKET; false when there is none. */
export type NotifyCall = (message: string) => boolean;

export interface NotifierOptions {
  notify: NotifyCall;
  log: Logger;
  env?: Readonly<Record<string, string | undefined>>;
}

/**
 * READY and STATUS go through /usr/bin/systemd-notify, which can say nothing else (RELOADING needs
 * MONOTONIC_USEC, which it learns in systemd 253) and costs a process: the rest, the watchdog above
 * all, goes through the addon. A spawned sender needs NotifyAccess=all in the unit.
 */
export class Notifier {
  readonly #notify: NotifyCall;
  readonly #log: Logger;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #enabled: boolean;

  constructor({ notify, log, env = process.env }: NotifierOptions) {
    this.#notify = notify;
    this.#log = log;
    this.#env = env;
    this.#enabled = (env['NOTIFY_SOCKET'] ?? '') !== '';
  }

  /** The agent answers calls. Until then systemd holds back what is ordered after it. */
  async ready(status: string): Promise<void> {
    if (!this.#enabled) return;
    try {
      await systemdNotify({ ready: true, status: oneLine(status) });
    } catch (error) {
      // Without the program, or with one that fails, READY must get there all the same.
      this.#log.warn(
        { err: wrap(error, 'systemd-notify failed', 'unavailable') },
        'READY is sent without the systemd-notify program',
      );
      this.#send(`READY=1\nMAINPID=${process.pid}\nSTATUS=${oneLine(status)}`);
    }
  }

  /** A line for `systemctl status`. */
  status(status: string): void {
    this.#send(`STATUS=${oneLine(status)}`);
  }

  /** systemd waits for the READY that must follow, and measures from the moment given. */
  reloading(): void {
    const microseconds = process.hrtime.bigint() / 1000n;
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${microseconds}`);
  }

  /** Ends a reload; no process is spawned for it. */
  reloaded(status: string): void {
    this.#send(`READY=1\nSTATUS=${oneLine(status)}`);
  }

  stopping(status: string): void {
    this.#send(`STOPPING=1\nSTATUS=${oneLine(status)}`);
  }

  /**
   * Pings twice per WATCHDOG_USEC for as long as `isHealthy` says so. An agent that hangs, or says it
   * is not well, misses its ping and is restarted; its containers are not touched.
   */
  startWatchdog(isHealthy: () => boolean | Promise<boolean>): { stop(): void } {
    const intervalMs = this.#watchdogIntervalMs();
    if (!this.#enabled || intervalMs === undefined) return { stop: () => undefined };
    let isAsking = false;
    const ping = async (): Promise<void> => {
      if (isAsking) return;
      isAsking = true;
      try {
        if (await isHealthy()) this.#send('WATCHDOG=1');
        else this.#log.warn({}, 'agent is not healthy: the watchdog gets no ping');
      } catch (error) {
        this.#log.warn({ err: error }, 'health check failed: the watchdog gets no ping');
      } finally {
        isAsking = false;
      }
    };
    void ping();
    const timer = setInterval(() => void ping(), intervalMs);
    timer.unref();
    return {
      stop: () => {
        clearInterval(timer);
      },
    };
  }

  /** undefined when the watchdog is off, or is another process's (sd_watchdog_enabled(3)). */
  #watchdogIntervalMs(): number | undefined {
    const microseconds = Number(this.#env['WATCHDOG_USEC']);
    const pid = this.#env['WATCHDOG_PID'];
    if (!Number.isSafeInteger(microseconds) || microseconds <= 0) return undefined;
    if (pid !== undefined && pid !== String(process.pid)) return undefined;
    return Math.max(1, Math.floor(microseconds / 2000));
  }

  #send(message: string): void {
    if (!this.#enabled) return;
    try {
      this.#notify(message);
    } catch (error) {
      // The manager may be gone for a moment (daemon-reexec); what it misses, it asks for again.
      this.#log.debug({ err: error }, 'cannot notify the service manager');
    }
  }
}

function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f]/g, ' ');
}
