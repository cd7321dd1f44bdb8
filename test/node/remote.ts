/** Commands on the test node, by ssh over one connection that stays open. */
import { spawn, spawnSync, type SpawnSyncReturns, type StdioOptions } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Address {
  port: number;
  key: string;
  /** Socket of the open connection. */
  control: string;
}

const options = ({ port, key, control }: Address): string[] => [
  // The user's own configuration has no say here.
  ...['-F', '/dev/null', '-q', '-p', String(port), '-i', key, '-o', 'IdentitiesOnly=yes'],
  // Whoever could stand in for a machine on the loopback of this host is root on it.
  ...[
    '-o',
    'StrictHostKeyChecking=no',
    '-o',
    'UserKnownHostsFile=/dev/null',
    '-o',
    'BatchMode=yes',
  ],
  ...['-o', `ControlPath=${control}`, '-o', 'ServerAliveInterval=60', '-o', 'ConnectTimeout=120'],
];

/** Waits until the node's ssh server greets; false when it does not in time. */
export async function waitForGreeting(port: number, limitMs: number, isAlive: () => boolean) {
  const end = Date.now() + limitMs;
  while (Date.now() < end && isAlive()) {
    // QEMU accepts long before anyone listens there.
    const greets = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      const answer = (value: boolean) => {
        socket.destroy();
        resolve(value);
      };
      socket.once('data', () => {
        answer(true);
      });
      socket.once('error', () => {
        answer(false);
      });
      socket.once('close', () => {
        answer(false);
      });
      socket.setTimeout(5000, () => {
        answer(false);
      });
    });
    if (greets) return true;
    await sleep(200);
  }
  return false;
}

/** Opens the connection that all commands share; it ends with the machine. */
export async function openConnection(address: Address): Promise<void> {
  const master = spawn('ssh', [...options(address), '-M', '-N', 'root@127.0.0.1'], {
    stdio: 'ignore',
    detached: true,
  });
  master.unref();
  const end = Date.now() + 120_000;
  while (!isConnected(address)) {
    if (master.exitCode !== null || Date.now() > end) {
      master.kill();
      throw new Error('the test node refuses the connection');
    }
    await sleep(100);
  }
}

export function isConnected(address: Address): boolean {
  const check = ['-O', 'check', 'root@127.0.0.1'];
  return spawnSync('ssh', [...options(address), ...check], { stdio: 'ignore' }).status === 0;
}

/** Arguments of ssh that run a command line there; none is a shell. */
export function remoteCommand(address: Address, command?: string, isInteractive = false): string[] {
  return [
    ...options(address),
    ...(isInteractive ? ['-t'] : []),
    'root@127.0.0.1',
    ...(command === undefined ? [] : [command]),
  ];
}

/** Runs a command line there to its end. */
export function runThere(
  address: Address,
  command: string,
  stdio: StdioOptions = ['ignore', 'pipe', 'pipe'],
): SpawnSyncReturns<string> {
  return spawnSync('ssh', remoteCommand(address, command), { stdio, encoding: 'utf8' });
}

/** The same, and what it prints; fails when it does. */
export function outputOf(address: Address, command: string): string {
  const { status, stdout, stderr } = runThere(address, command);
  if (status !== 0)
    throw new Error(`on the test node: ${command}: ${stderr.trim()} (${status ?? ''})`);
  return stdout;
}

/** A word for the shell there. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
