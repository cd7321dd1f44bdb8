/** Servers of several characters in a network namespace, all in one process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** Ports of what listens. */
export const POD_PORTS = {
  /** Sends back what comes, and ends when the client has. On 127.0.0.1. */
  echo: 8001,
  /** The same on ::1 alone. */
  echo6: 8002,
  /** Says "bye", ends, and reads on; tells how many bytes came. */
  farewell: 8003,
  /** Many bytes, then the end. */
  source: 8004,
  /** Counts what comes, and tells when the client has ended. */
  sink: 8005,
  /** Resets whoever says something. */
  reset: 8006,
} as const;
export const SOURCE_BYTES = 16 * 1024 * 1024;

const SCRIPT = `
const { createServer } = require('node:net');
const ports = ${JSON.stringify(POD_PORTS)};
const open = new Set();
function listen(port, host, take) {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket)).on('error', () => undefined);
    take(socket);
  });
  server.listen({ port, host, backlog: 128 });
}
function count(socket, name, done) {
  let bytes = 0;
  socket.on('data', (chunk) => { bytes += chunk.length; });
  socket.on('end', () => { console.log(name, bytes); done(bytes); });
}
listen(ports.echo, '127.0.0.1', (socket) => socket.pipe(socket));
listen(ports.echo6, '::1', (socket) => socket.pipe(socket));
listen(ports.farewell, '127.0.0.1', (socket) => {
  socket.end('bye');
  count(socket, 'farewell', () => undefined);
});
listen(ports.source, '127.0.0.1', (socket) => {
  socket.resume().end(Buffer.alloc(${SOURCE_BYTES}, 'x'));
});
listen(ports.sink, '127.0.0.1', (socket) => count(socket, 'sink', (bytes) => socket.end(String(bytes))));
listen(ports.reset, '127.0.0.1', (socket) => socket.once('data', () => socket.resetAndDestroy()));
process.stdin.on('data', () => console.log('open', open.size)).on('end', () => process.exit());
setImmediate(() => console.log('ready'));
`;

export class PodServer {
  readonly #child;
  readonly #lines;

  private constructor(netns: string) {
    this.#child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', SCRIPT], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  static async start(netns: string): Promise<PodServer> {
    const server = new PodServer(netns);
    await server.line();
    return server;
  }

  /** What it tells next. */
  async line(): Promise<string> {
    const { value } = (await this.#lines.next()) as { value: string | undefined };
    if (value === undefined) throw new Error('the server has ended');
    return value;
  }

  async openConnections(): Promise<number> {
    this.#child.stdin.write('?');
    const [, count] = (await this.line()).split(' ');
    return Number(count);
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.stdin.end();
    await ended;
  }
}
