/**
 * Whether a signal would reach a payload. The kernel throws away a signal to the init of a PID
 * namespace that has no handler for it (pid_namespaces(7)), and a payload that was started a moment
 * ago has not had the time to set one up: a stop signal must wait for it, or it is lost.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../core/errors.js';

const POLL_MS = 5;
/** SIGKILL and SIGSTOP from outside its namespace reach an init too (pid_namespaces(7)). */
const ALWAYS_DELIVERED: ReadonlySet<number> = new Set([9, 19]);

/** Waits until the signal would have an effect, at most until `deadline` (Date.now()). */
export async function untilDeliverable(
  pid: number,
  signal: number,
  deadline: number,
): Promise<void> {
  while (Date.now() < deadline && !isDeliverable(await readStatus(pid), signal)) {
    await sleep(POLL_MS);
  }
}

async function readStatus(pid: number): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/status`, 'latin1');
  } catch (error) {
    // It has ended: there is nothing to wait for.
    if (hasCode(error, 'ENOENT', 'ESRCH')) return '';
    throw error;
  }
}

/** `status` is the text of /proc/PID/status, '' for a process that is gone. */
export function isDeliverable(status: string, signal: number): boolean {
  if (status === '' || ALWAYS_DELIVERED.has(signal)) return true;
  // The last number is the pid in the innermost namespace (proc_pid_status(5)).
  if (!/^NSpid:.*\s1$/m.test(status)) return true;
  const bit = 1n << BigInt(signal - 1);
  return ['SigBlk', 'SigIgn', 'SigCgt'].some((set) => {
    const mask = new RegExp(`^${set}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) & bit) !== 0n;
  });
}
