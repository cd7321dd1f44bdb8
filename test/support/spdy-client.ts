/**
 * The client's side of exec, attach and port-forward over SPDY/3.1, written against the draft and
 * moby/spdystream and sharing nothing with the server but zlib's dictionary.
 */
import { connect, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createInflate, type Inflate } from 'node:zlib';
import { DICTIONARY } from '../../src/streaming/spdy/dictionary.js';
import { patient } from './patience.js';
import { ClientBlocks, u32 } from './spdy-blocks.js';

const WAIT_MS = 20_000;

export interface Answer {
  status: number;
  headers: Map<string, string>;
  /** What follows the head, of a refusal its text. */
  rest: Buffer;
}

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string>;
}

const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'SPDY/3.1',
  'x-stream-protocol-version':
    'v5.channel.k8s.io, v4.channel.k8s.io, v3.channel.k8s.io, v2.channel.k8s.io, channel.k8s.io',
};

/** Asks for an upgrade and answers the server's head. An empty header is left out. */
export async function request(
  socket: Socket,
  url: string,
  { method = 'POST', headers = {} }: RequestOptions = {},
): Promise<Answer> {
  const { host, pathname, search } = new URL(url);
  const all = Object.entries({ host, ...UPGRADE, ...headers }).filter(([, value]) => value !== '');
  socket.write(
    `${method} ${pathname}${search} HTTP/1.1\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`,
  );
  let bytes = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk]);
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
      const status = Number(first.split(' ')[1]);
      if (status !== 101 && !socket.readableEnded) return;
      done();
      const pairs = lines.map((line) => line.split(': ') as [string, string]);
      const names = pairs.map(([name, value]) => [name.toLowerCase(), value] as const);
      resolve({ status, headers: new Map(names), rest: bytes.subarray(end + 4) });
    };
    const ended = (): void => {
      take(Buffer.alloc(0));
      fail();
    };
    const fail = (): void => {
      done();
      reject(new Error(`no answer, but ${JSON.stringify(bytes.toString('latin1'))}`));
    };
    const done = (): void => {
      socket.off('data', take).off('end', ended).off('close', fail);
      socket.pause();
    };
    socket.on('data', take).on('end', ended).on('close', fail);
  });
}

/** What has come on one stream. */
export interface ClientStream {
  id: number;
  replied: boolean;
  reset: number | undefined;
  ended: boolean;
  bytes: Buffer;
}

export class SpdyClient {
  readonly socket: Duplex;
  readonly streams = new Map<number, ClientStream>();
  readonly pings: number[] = [];
  protocol = '';
  goaway: number | undefined;
  ended = false;
  closed = false;
  readonly blocks = new ClientBlocks();
  readonly #inflate: Inflate = createInflate({ dictionary: DICTIONARY });
  #nextId = 1;
  #received = Buffer.alloc(0);
  #changed: (() => void)[] = [];
  #failure: Error | undefined;

  constructor(socket: Duplex) {
    this.socket = socket;
    socket.on('error', () => undefined);
    this.#inflate.on('error', (error: Error) => {
      this.#failure = error;
    });
  }

  /** Rejects with the server's words when it refuses. */
  static async open(
    url: string,
    options?: RequestOptions,
    socket = dial(url),
  ): Promise<SpdyClient> {
    const client = new SpdyClient(socket);
    const { status, headers, rest } = await request(socket, url, options);
    if (status !== 101) throw new Error(`${status}: ${rest.toString()}`);
    client.protocol = headers.get('x-stream-protocol-version') ?? '';
    client.#listen(rest);
    return client;
  }

  /** Where both sides agree to speak SPDY already: in a tunnel. */
  static over(tunnel: Duplex): SpdyClient {
    const client = new SpdyClient(tunnel);
    client.#listen(Buffer.alloc(0));
    return client;
  }

  /** Opens a stream without waiting for the reply. */
  async stream(headers: Record<string, string>, flags = 0): Promise<ClientStream> {
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = { id, replied: false, reset: undefined, ended: false, bytes: Buffer.alloc(0) };
    this.streams.set(id, stream);
    this.send(
      control(1, flags, u32(id), u32(0), Buffer.alloc(2), await this.blocks.headers(headers)),
    );
    return stream;
  }

  /** Streams of exec by their names, replied to. */
  async streamsOf<Name extends string>(...names: Name[]): Promise<Record<Name, ClientStream>> {
    const opened: [Name, ClientStream][] = [];
    for (const name of names) opened.push([name, await this.stream({ streamtype: name })]);
    await this.until(() => opened.every(([, { replied }]) => replied));
    return Object.fromEntries(opened) as Record<Name, ClientStream>;
  }

  send(bytes: Buffer): boolean {
    return this.socket.write(bytes);
  }

  data({ id }: ClientStream, bytes: Buffer | string, fin = false): boolean {
    const payload = Buffer.from(bytes);
    return this.send(Buffer.concat([frame(id, fin ? 1 : 0, payload.length), payload]));
  }

  ping(id: number): void {
    this.send(control(6, 0, u32(id)));
  }

  reset({ id }: ClientStream): void {
    this.send(control(3, 0, u32(id), u32(5)));
  }

  /** Everything that has come on a stream up to its end. */
  async text(stream: ClientStream): Promise<string> {
    await this.until(() => stream.ended);
    return stream.bytes.toString();
  }

  /** Waits until it holds, looking whenever something came. */
  async until(holds: () => boolean): Promise<void> {
    const end = Date.now() + patient(WAIT_MS);
    while (!holds()) {
      if (this.#failure !== undefined) throw this.#failure;
      if (Date.now() > end) throw new Error(`did not come true: ${holds.toString()}`);
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#changed.push(resolve);
        timer = setTimeout(resolve, 1000);
      });
      clearTimeout(timer);
    }
  }

  /** Leaves without a word. */
  abort(): void {
    if (this.socket instanceof Socket) this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  close(): void {
    this.socket.destroy();
    this.blocks.close();
    this.#inflate.close();
  }

  #listen(rest: Buffer): void {
    const { socket } = this;
    socket.on('data', (chunk: Buffer) => {
      this.#take(chunk);
    });
    socket.on('end', () => {
      this.ended = true;
      this.#tell();
    });
    socket.on('close', () => {
      this.closed = true;
      this.#tell();
    });
    this.#take(rest);
    socket.resume();
  }

  #tell(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    for (;;) {
      if (this.#received.length < 8) break;
      const length = this.#received.readUIntBE(5, 3);
      if (this.#received.length < 8 + length) break;
      const first = this.#received.readUInt32BE(0);
      const flags = this.#received.readUInt8(4);
      this.#frame(first, flags, this.#received.subarray(8, 8 + length));
      this.#received = this.#received.subarray(8 + length);
    }
    this.#tell();
  }

  #frame(first: number, flags: number, payload: Buffer): void {
    if (first < 0x80000000) {
      const stream = this.#known(first);
      if (!stream.replied) this.#failure = new Error(`data before the reply of stream ${first}`);
      if (stream.ended) this.#failure = new Error(`data after the end of stream ${first}`);
      stream.bytes = Buffer.concat([stream.bytes, payload]);
      stream.ended = (flags & 1) !== 0;
      return;
    }
    const type = first & 0xffff;
    if (type === 2) {
      this.#known(payload.readUInt32BE(0)).replied = true;
      this.#inflate.write(payload.subarray(4));
    } else if (type === 3) {
      this.#known(payload.readUInt32BE(0)).reset = payload.readUInt32BE(4);
    } else if (type === 6) this.pings.push(payload.readUInt32BE(0));
    else if (type === 7) this.goaway = payload.readUInt32BE(4);
    else this.#failure = new Error(`a frame of type ${type}`);
  }

  #known(id: number): ClientStream {
    const stream = this.streams.get(id);
    if (stream === undefined) throw new Error(`a frame for stream ${id}, which was not opened`);
    return stream;
  }
}

export function dial(url: string): Socket {
  const { hostname, port } = new URL(url);
  return connect({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port),
    allowHalfOpen: true,
  });
}

export function control(type: number, flags: number, ...parts: Buffer[]): Buffer {
  const payload = Buffer.concat(parts);
  return Buffer.concat([frame((0x80030000 | type) >>> 0, flags, payload.length), payload]);
}

function frame(first: number, flags: number, length: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(first, 0);
  bytes.writeUInt8(flags, 4);
  bytes.writeUIntBE(length, 5, 3);
  return bytes;
}
