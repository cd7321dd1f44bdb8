/** A client of exec, attach and port-forward by WebSocket channels: what has come on each. */
import { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import { patient } from './patience.js';

const WAIT_MS = 20_000;

export class WebSocketClient {
  readonly webSocket: WebSocket;
  /** Everything that has come, by channel. */
  readonly channels = new Map<number, Buffer>();
  /** The number of the first channel that anything came on, and how much. */
  first: [channel: number, length: number] | undefined;
  pongs = 0;
  /** The code that it was closed with. */
  closed: number | undefined;
  #changed: (() => void)[] = [];
  #refusal: Error | undefined;

  private constructor(webSocket: WebSocket) {
    this.webSocket = webSocket;
    webSocket.on('message', (data: Buffer) => {
      const text = webSocket.protocol.includes('base64');
      const channel = (data[0] ?? 0) - (text ? 0x30 : 0);
      const bytes = text
        ? Buffer.from(data.toString('latin1', 1), 'base64')
        : Buffer.from(data.subarray(1));
      this.first ??= [channel, bytes.length];
      this.channels.set(channel, Buffer.concat([this.bytes(channel), bytes]));
      this.#tell();
    });
    webSocket.on('pong', () => {
      this.pongs++;
      this.#tell();
    });
    webSocket.on('close', (code) => {
      this.closed = code;
      this.#tell();
    });
    webSocket.on('error', (error) => {
      this.#refusal ??= error;
    });
    webSocket.on('unexpected-response', (_request, response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => {
        this.#refusal = new Error(`${response.statusCode}: ${text.trim()}`);
        webSocket.terminate();
      });
    });
  }

  /** Rejects with the server's words when it refuses. */
  static async open(
    url: string,
    protocols: string | string[] = [],
    socket?: Duplex,
  ): Promise<WebSocketClient> {
    const client = new WebSocketClient(
      new WebSocket(url, protocols, {
        perMessageDeflate: true,
        ...(socket && { createConnection: () => socket }),
      }),
    );
    const { webSocket } = client;
    webSocket.on('open', () => {
      client.#tell();
    });
    await client.until(
      () => webSocket.readyState === WebSocket.OPEN || client.closed !== undefined,
    );
    if (client.#refusal !== undefined) throw client.#refusal;
    return client;
  }

  bytes(channel: number): Buffer {
    return this.channels.get(channel) ?? Buffer.alloc(0);
  }

  text(channel: number): string {
    return this.bytes(channel).toString();
  }

  send(channel: number, bytes: Buffer | string): void {
    const payload = Buffer.from(bytes);
    if (this.webSocket.protocol.includes('base64')) {
      this.webSocket.send(`${channel}${payload.toString('base64')}`);
    } else this.webSocket.send(Buffer.concat([Buffer.of(channel), payload]));
  }

  async ended(): Promise<void> {
    await this.until(() => this.closed !== undefined);
  }

  /** Waits until it holds, looking whenever something came. */
  async until(holds: () => boolean): Promise<void> {
    const end = Date.now() + patient(WAIT_MS);
    while (!holds()) {
      if (Date.now() > end) throw new Error(`did not come true: ${holds.toString()}`);
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#changed.push(resolve);
        timer = setTimeout(resolve, 1000);
      });
      clearTimeout(timer);
    }
  }

  #tell(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }
}

/** The `ws` package offers no name with a slash: on the wire this one stands for it. */
export const TUNNEL_ALIAS = 'tunnel-alias';

/** A connection whose first bytes each way, the heads, have the alias replaced by the name. */
export function withTunnelName(socket: Duplex, name: string): Duplex {
  const first = { sent: true, received: true };
  const outer = new Duplex({
    read: () => socket.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      socket.write(first.sent ? replaced(chunk, TUNNEL_ALIAS, name) : chunk, done);
      first.sent = false;
    },
    final: (done) => socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on('data', (chunk: Buffer) => {
    if (!outer.push(first.received ? replaced(chunk, name, TUNNEL_ALIAS) : chunk)) socket.pause();
    first.received = false;
  });
  socket.on('end', () => outer.push(null)).on('close', () => outer.destroy());
  return outer;
}

const replaced = (chunk: Buffer, from: string, to: string): Buffer =>
  Buffer.from(chunk.toString('latin1').replace(from, to), 'latin1');
