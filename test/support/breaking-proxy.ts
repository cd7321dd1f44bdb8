/** A TCP relay that cuts connections after so many bytes to the server, as often as it is told. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export class BreakingProxy {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** How many connections will be cut from now on. */
  cuts = 0;
  /** Bytes a connection that is to be cut may send. */
  bytes = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    this.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async start(target: string): Promise<BreakingProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const self = new BreakingProxy(server);
    const [host = '', port = ''] = target.split(':');
    server.on('connection', (client) => {
      self.#relay(client, connect(Number(port), host));
    });
    return self;
  }

  #relay(client: Socket, upstream: Socket): void {
    let passed = 0;
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    upstream.pipe(client);
    client.on('data', (chunk: Buffer) => {
      passed += chunk.length;
      if (this.cuts > 0 && passed > this.bytes) {
        this.cuts -= 1;
        client.destroy();
      } else upstream.write(chunk);
    });
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}
