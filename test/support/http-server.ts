/** An HTTP server on loopback that remembers what it was asked. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export class HttpServer {
  readonly requests: IncomingMessage[] = [];
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  get url(): string {
    return `http://${this.host}`;
  }

  static async start(
    handler: (request: IncomingMessage, response: ServerResponse) => void,
  ): Promise<HttpServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const self = new HttpServer(server);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      self.requests.push(request);
      handler(request, response);
    });
    return self;
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }
}
