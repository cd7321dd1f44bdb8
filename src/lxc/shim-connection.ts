/** A connection to a shim's control socket: requests in order, one answer each. */
import { closeSync, constants, openSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, RuntimeError } from '../core/errors.js';
import { Message, MessageWriter, TAG } from '../core/shim-spec.js';

/** Longest answer taken; a shim's are below 1100 bytes. */
const MAX_ANSWER = 64 * 1024;
const ANSWER_MS = 30_000;

export class ShimConnection {
  /** When the shim closed it, for whatever reason. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  #received = Buffer.alloc(0);
  #waiting: { resolve: (answer: Message) => void; reject: (error: Error) => void }[] = [];

  /** undefined when no shim listens in this folder. */
  static async open(runDirectory: string): Promise<ShimConnection | undefined> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return new ShimConnection(await connect(runDirectory));
      } catch (error) {
        // ECONNRESET: it ended while we were in its backlog.
        if (hasCode(error, 'ENOENT', 'ECONNREFUSED', 'ECONNRESET')) return undefined;
        // EAGAIN: its backlog is full for the moment (unix(7)).
        if (!hasCode(error, 'EAGAIN') || attempt === 50) throw error;
        await sleep(20);
      }
    }
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        const gone = new RuntimeError('unavailable', 'the shim closed the connection');
        for (const { reject } of this.#waiting.splice(0)) reject(gone);
        resolve();
      });
    });
    // 'close' follows.
    socket.on('error', () => undefined);
    socket.on('data', this.#onData);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#received = Buffer.concat([this.#received, chunk]);
    this.#deliver();
  };

  /** Rejects with 'unavailable' when the shim ends before it answers. */
  request(
    operation: number,
    numbers: readonly [tag: number, value: number][] = [],
  ): Promise<Message> {
    const request = new MessageWriter().number(TAG.operation, operation);
    for (const [tag, value] of numbers) request.number(tag, value);
    const body = request.finish();
    const length = Buffer.alloc(4);
    length.writeUInt32LE(body.length);
    if (this.#socket.destroyed)
      return Promise.reject(new RuntimeError('unavailable', 'the shim closed the connection'));
    return new Promise<Message>((resolve, reject) => {
      const timer = setTimeout(() => {
        // It is there and does not answer: not the same as gone, and nobody may take it for that.
        reject(new RuntimeError('deadline-exceeded', `the shim did not answer in ${ANSWER_MS} ms`));
        this.#socket.destroy();
      }, ANSWER_MS);
      const settled = (): void => {
        clearTimeout(timer);
      };
      this.#waiting.push({
        resolve: (answer) => {
          settled();
          resolve(answer);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      });
      this.#socket.write(Buffer.concat([length, body]));
    });
  }

  /** Waiting on it does not keep the agent alive any more. */
  unref(): void {
    this.#socket.unref();
  }

  close(): void {
    this.#socket.destroy();
  }

  /** After an answer that turned the connection into something else: its socket, paused, and what came since. */
  release(): { socket: Socket; received: Buffer } {
    this.#socket.pause();
    this.#socket.off('data', this.#onData);
    return { socket: this.#socket, received: this.#received };
  }

  #deliver(): void {
    // What nobody asked for is the beginning of an attached connection's frames.
    while (this.#waiting.length > 0 && this.#received.length >= 4) {
      const length = this.#received.readUInt32LE();
      if (length > MAX_ANSWER) {
        this.#socket.destroy();
        return;
      }
      if (this.#received.length < 4 + length) return;
      const body = this.#received.subarray(4, 4 + length);
      this.#received = this.#received.subarray(4 + length);
      const next = this.#waiting.shift();
      try {
        next?.resolve(new Message(body));
      } catch {
        // Not one of our shims: its end is told to whoever waits.
        this.#socket.destroy();
      }
    }
  }
}

/** By way of the folder's descriptor: a socket's path holds 107 bytes at most (unix(7)). */
async function connect(runDirectory: string): Promise<Socket> {
  const folder = openSync(runDirectory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await new Promise((resolve, reject) => {
      const socket = createConnection({ path: `/proc/self/fd/${folder}/shim.sock` });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(socket);
      });
    });
  } finally {
    closeSync(folder);
  }
}
