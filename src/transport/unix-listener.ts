/** A unix socket for root alone: made by us, or passed by systemd. */
import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type { Logger } from '../core/logger.js';

export interface ListenerOptions {
  path: string;
  /**
   * The process environment, for the one socket that systemd may pass (LISTEN_FDS, LISTEN_PID); {} for
   * any other.
   */
  env: Readonly<Record<string, string | undefined>>;
  peerCredentials(fd: number): { pid: number; uid: number; gid: number };
  accept(socket: Socket): void;
  log: Logger;
}

/** First descriptor of socket activation (sd_listen_fds(3)). */
const LISTEN_FDS_START = 3;

/** Closing removes a socket of our own; one that systemd passed stays for the next start. */
export async function listenUnix(options: ListenerOptions): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', (error) => {
      options.log.debug({ err: error }, 'connection failed');
    });
    if (isAllowed(options, socket)) options.accept(socket);
    else socket.destroy();
  });
  if (isPassedBySystemd(options.env)) {
    await listen(server, { fd: LISTEN_FDS_START }, 'the socket passed by systemd');
    logErrors(server, options.log);
    return server;
  }
  mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 });
  await removeStale(options.path);
  // bind(2) makes the socket with the mask's mode: nobody can connect before a chmod.
  const mask = process.umask(0o177);
  try {
    await listen(server, { path: options.path }, options.path);
  } finally {
    process.umask(mask);
  }
  chmodSync(options.path, 0o600);
  logErrors(server, options.log);
  return server;
}

/** accept(2) fails while descriptors are scarce; without a handler that would end the agent. */
function logErrors(server: Server, log: Logger): void {
  server.on('error', (error) => {
    log.error({ err: error }, 'cannot accept a connection');
  });
}

function isPassedBySystemd(env: ListenerOptions['env']): boolean {
  return Number(env['LISTEN_FDS']) >= 1 && env['LISTEN_PID'] === String(process.pid);
}

/** The mode keeps others out; this also stops a descriptor that was passed on to someone else. */
function isAllowed(options: ListenerOptions, socket: Socket): boolean {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd ?? -1;
  try {
    const { uid, pid } = options.peerCredentials(fd);
    if (uid === 0) return true;
    options.log.warn({ uid, pid }, 'refused a connection: it is for root alone');
  } catch (error) {
    options.log.warn({ err: error }, 'refused a connection: its credentials cannot be read');
  }
  return false;
}

/** A socket file whose owner died is in the way of bind; one that answers is somebody's. */
async function removeStale(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) {
      throw new RuntimeError(
        'failed-precondition',
        `socket ${path} exists and is not a socket: move it away or set another socket`,
      );
    }
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  if (await answers(path)) {
    throw new RuntimeError(
      'failed-precondition',
      `socket ${path} is in use by another process: stop that one or set another socket`,
    );
  }
  unlinkSync(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Any other failure, a full backlog for one, is that of a socket somebody listens on.
    socket.once('error', (error) => {
      resolve(!hasCode(error, 'ECONNREFUSED'));
    });
  });
}

async function listen(
  server: Server,
  where: { fd: number } | { path: string },
  name: string,
): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(where, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    throw wrap(error, `cannot listen on ${name}`, 'failed-precondition');
  }
}
