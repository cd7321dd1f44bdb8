/** ttrpc: messages on the wire, calls in both directions, and peers that do not keep to it. */
import assert from 'node:assert/strict';
import { duplexPair, type Duplex } from 'node:stream';
import fc from 'fast-check';
import { Request, Response } from '../../../src/nri/gen/ttrpc.js';
import { toFrames } from '../../../src/nri/mux.js';
import {
  encodeMessage,
  MAX_DATA,
  MessageReader,
  type Message,
} from '../../../src/nri/ttrpc-message.js';
import {
  ConnectionError,
  OversizedError,
  StatusError,
  TtrpcPeer,
  type Serve,
} from '../../../src/nri/ttrpc.js';

const refuse: Serve = () => Promise.reject(new Error('nothing is served here'));

describe('messages of ttrpc', () => {
  it('are read as they were written, whatever the cuts', () => {
    const message = fc.record({
      stream: fc.integer({ min: 0, max: 0xffff_ffff }),
      type: fc.integer({ min: 0, max: 255 }),
      data: fc.uint8Array({ maxLength: 300 }),
    });
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }),
        (messages, cuts) => {
          const bytes = Buffer.concat(
            messages.map(({ stream, type, data }) => encodeMessage(stream, type, data)),
          );
          const read: Message[] = [];
          const reader = new MessageReader((each) => read.push(each));
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const cut = cuts[i % cuts.length] ?? 1;
            reader.push(bytes.subarray(at, at + cut));
            at += cut;
          }
          assert.deepEqual(
            read.map(({ stream, type, data }) => ({ stream, type, data: [...(data ?? [])] })),
            messages.map((each) => ({ ...each, data: [...each.data] })),
          );
        },
      ),
    );
  });

  it('that are too long are passed over, and the next one is read', () => {
    const read: Message[] = [];
    const reader = new MessageReader((each) => read.push(each));
    const long = encodeMessage(5, 2, Buffer.alloc(0));
    long.writeUInt32BE(MAX_DATA + 1, 0);
    reader.push(long);
    for (let left = MAX_DATA + 1; left > 0; left -= 1 << 20) {
      reader.push(Buffer.alloc(Math.min(left, 1 << 20)));
    }
    reader.push(encodeMessage(7, 2, Buffer.from('next')));
    assert.deepEqual(
      read.map(({ stream, data }) => [stream, data?.toString()]),
      [
        [5, undefined],
        [7, 'next'],
      ],
    );
  });
});

describe('a peer of ttrpc', () => {
  it('calls, is called at the same time, and tells errors with their code', async () => {
    const { peer, other } = pair((_service, method, payload) => {
      if (method === 'Fail') return Promise.reject(new StatusError(5, 'no such thing'));
      return Promise.resolve(Buffer.concat([payload, Buffer.from(' served')]));
    });
    const asked = other.ask(1, 'a.b.Runtime', 'Echo', Buffer.from('one'));
    const failed = other.ask(3, 'a.b.Runtime', 'Fail', Buffer.alloc(0));
    other.answerAll((request) =>
      request.method === 'Bad'
        ? { status: { code: 9, message: 'not now' }, payload: Buffer.alloc(0) }
        : { status: undefined, payload: Buffer.from(`${request.service} ${request.method}`) },
    );
    assert.equal(
      (await peer.call('x.Plugin', 'Go', Buffer.alloc(0), 2000)).toString(),
      'x.Plugin Go',
    );
    await assert.rejects(peer.call('x.Plugin', 'Bad', Buffer.alloc(0), 2000), (error) => {
      return error instanceof StatusError && error.code === 9 && error.message === 'not now';
    });
    assert.equal((await asked).payload.toString(), 'one served');
    assert.deepEqual((await failed).status, { code: 5, message: 'no such thing' });
    peer.close(null);
  });

  it('carries messages up to the limit and refuses longer ones unsent', async () => {
    const { peer, other } = pair(refuse);
    other.answerAll(({ payload }) => ({ status: undefined, payload }));
    const big = Buffer.alloc(MAX_DATA - 100, 7);
    assert.ok((await peer.call('s', 'm', big, 5000)).equals(big));
    await assert.rejects(peer.call('s', 'm', Buffer.alloc(MAX_DATA), 2000), OversizedError);
    assert.equal((await peer.call('s', 'm', Buffer.from('x'), 2000)).toString(), 'x');
    peer.close(null);
  });

  it('ends a connection that does not answer in time, with all its calls', async () => {
    const { peer } = pair(refuse);
    const calls = [
      peer.call('s', 'm', Buffer.alloc(0), 30),
      peer.call('s', 'm', Buffer.alloc(0), 9000),
    ];
    for (const call of calls) await assert.rejects(call, ConnectionError);
    assert.match(String(await peer.closed), /not answered within 30 ms/);
    await assert.rejects(peer.call('s', 'm', Buffer.alloc(0), 30), ConnectionError);
  });

  it('ends a connection whose answers cannot be read or are none', async () => {
    for (const wrong of [
      encodeMessage(1, 2, Buffer.from([0x0a, 0xff, 0xff])),
      encodeMessage(1, 3, Buffer.alloc(0)),
    ]) {
      const { peer, socket } = pair(refuse);
      const call = peer.call('s', 'm', Buffer.alloc(0), 5000);
      socket.write(Buffer.concat(toFrames(1, wrong)));
      await assert.rejects(call, ConnectionError);
    }
  });

  it('answers what it is asked wrongly, and no more than so many calls at a time', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const { peer, other, socket } = pair(async () => {
      await held;
      return Buffer.alloc(0);
    });
    assert.match((await other.ask(2, 's', 'm', Buffer.alloc(0))).status?.message ?? '', /odd/);
    const held64 = Array.from({ length: 64 }, (_, i) =>
      other.ask(3 + 2 * i, 's', 'm', Buffer.alloc(0)),
    );
    assert.equal((await other.ask(1001, 's', 'm', Buffer.alloc(0))).status?.code, 8);
    assert.match((await other.ask(1001, 's', 'm', Buffer.alloc(0))).status?.message ?? '', /grow/);
    release();
    await Promise.all(held64);
    const garbage = other.expect(1003);
    socket.write(Buffer.concat(toFrames(2, encodeMessage(1003, 1, Buffer.from([0x0a, 0xff])))));
    assert.match((await garbage).status?.message ?? '', /cannot be read/);
    peer.close(null);
  });

  it('survives any bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }),
        async (parts) => {
          const { peer, socket } = pair(refuse);
          for (const part of parts) socket.write(Buffer.concat(toFrames(2, Buffer.from(part))));
          for (const part of parts) socket.write(part);
          socket.end();
          await peer.closed;
        },
      ),
      { numRuns: 100 },
    );
  });
});

/** A peer, and the other end of its socket. */
function pair(serve: Serve): { peer: TtrpcPeer; other: OtherEnd; socket: Duplex } {
  const [ours, theirs] = duplexPair();
  return { peer: new TtrpcPeer(ours, serve), other: new OtherEnd(theirs), socket: theirs };
}

/** Speaks the other side with the pieces alone. */
class OtherEnd {
  readonly #socket: Duplex;
  readonly #asked = new Map<number, (response: Response) => void>();
  #answer: ((request: Request) => Response) | undefined;

  constructor(socket: Duplex) {
    this.#socket = socket;
    const answers = new MessageReader(({ stream, data }) => {
      this.#asked.get(stream)?.(Response.decode(data ?? Buffer.alloc(0)));
    });
    const requests = new MessageReader(({ stream, data }) => {
      const answer = this.#answer?.(Request.decode(data ?? Buffer.alloc(0)));
      if (answer) this.#send(1, stream, 2, Response.encode(answer).finish());
    });
    let pending = Buffer.alloc(0);
    socket.on('data', (bytes: Buffer) => {
      pending = Buffer.concat([pending, bytes]);
      while (pending.length >= 8 && pending.length >= 8 + pending.readUInt32BE(4)) {
        const end = 8 + pending.readUInt32BE(4);
        (pending.readUInt32BE(0) === 1 ? requests : answers).push(pending.subarray(8, end));
        pending = pending.subarray(end);
      }
    });
  }

  answerAll(answer: (request: Request) => Response): void {
    this.#answer = answer;
  }

  ask(stream: number, service: string, method: string, payload: Buffer): Promise<Response> {
    const answered = this.expect(stream);
    const request = Request.encode({ service, method, payload, timeoutNano: 0n }).finish();
    this.#send(2, stream, 1, request);
    return answered;
  }

  expect(stream: number): Promise<Response> {
    return new Promise((resolve) => this.#asked.set(stream, resolve));
  }

  #send(connection: number, stream: number, type: number, data: Uint8Array): void {
    this.#socket.write(Buffer.concat(toFrames(connection, encodeMessage(stream, type, data))));
  }
}
