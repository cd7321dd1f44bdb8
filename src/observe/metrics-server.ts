/** GET /metrics, and nothing else. It has no authentication: its address decides who may read. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { wrap } from '../core/errors.js';
import type { Metrics } from './metrics.js';

export interface MetricsServer {
  /** Where it really listens. */
  readonly url: string;
  close(): Promise<void>;
}

/** A scrape is one request; more at once than these are not for honest reasons. */
const MOST_CONNECTIONS = 16;
const REQUEST_MS = 10_000;
const MOST_HEADER_BYTES = 8 << 10;

/** `address` is `IP:PORT`, as the configuration checks it. */
export async function listenMetrics(address: string, metrics: Metrics): Promise<MetricsServer> {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  const server = createServer(
    {
      maxHeaderSize: MOST_HEADER_BYTES,
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => {
      answer(metrics, request, response).catch(() => response.destroy());
    },
  );
  server.maxConnections = MOST_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(wrap(error, `cannot listen on metrics.address ${JSON.stringify(address)}`));
    });
    server.listen(Number(address.slice(colon + 1)), host, resolve);
  });
  const bound = server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
  return {
    url: `http://${address.slice(0, colon)}:${port}/metrics`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

async function answer(
  metrics: Metrics,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = (request.url ?? '').replace(/\?.*$/, '');
  if (path !== '/metrics') {
    response.writeHead(404, { connection: 'close' }).end('there is /metrics alone\n');
  } else if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD', connection: 'close' }).end();
  } else {
    const text = await metrics.text();
    response.writeHead(200, { 'content-type': metrics.contentType }).end(text);
  }
}
