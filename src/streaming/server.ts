/**
 * The HTTP server behind exec, attach and port-forward. A stream is opened by a token that an RPC gave
 * out; while no RPC gives out any, every token is unknown.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';

export interface StreamingServer {
  /** `http://127.0.0.1:34567` */
  readonly url: string;
  close(): Promise<void>;
}

export async function listenStreaming(address: string, port: number): Promise<StreamingServer> {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(404, { 'content-type': 'text/plain' }).end('unknown stream token\n');
  });
  server.on('upgrade', (_request, socket) => {
    socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  });
  await listen(server, address, port);
  const bound = server.address() as AddressInfo;
  const host = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
  return {
    url: `http://${host}:${bound.port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      // Stays: accept(2) fails while descriptors are scarce, and must not end the agent.
      server.on('error', reject);
      server.listen({ host, port, exclusive: true }, resolve);
    });
  } catch (error) {
    if (hasCode(error, 'EADDRINUSE')) {
      throw new RuntimeError(
        'failed-precondition',
        `streaming.port ${port} on ${host} is in use: choose another or 0 for any free one`,
        error,
      );
    }
    throw wrap(error, `cannot listen for streams on ${host}:${port}`);
  }
}
