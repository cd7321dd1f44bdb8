/** A plugin's way in: registration, configuration, synchronization in parts; and those that fail in it. */
import assert from 'node:assert/strict';
import { duplexPair, type Duplex } from 'node:stream';
import { PodSandbox } from '../../../src/nri/gen/pod.js';
import {
  ConfigureResponse,
  RegisterPluginRequest,
  SynchronizeRequest,
  SynchronizeResponse,
} from '../../../src/nri/gen/service.js';
import { Request, Response } from '../../../src/nri/gen/ttrpc.js';
import { FrameReader, toFrames } from '../../../src/nri/mux.js';
import { Plugin } from '../../../src/nri/plugin.js';
import { encodeMessage, MessageReader } from '../../../src/nri/ttrpc-message.js';

describe('a plugin', () => {
  it('registers, is configured, and is called for what it subscribed to', async () => {
    const { plugin, end } = connect();
    end.register('logger', '07');
    end.answer('Configure', ConfigureResponse.encode({ events: 0b101 }).finish());
    await plugin.start();
    assert.equal(plugin.name, '07-logger');
    assert.deepEqual(
      [1, 2, 3, 4].map((event) => plugin.subscribes(event)),
      [true, false, true, false],
    );
    plugin.close(null);
  });

  it('is refused for a name, an index or events that are none', async () => {
    for (const [name, index, events] of [
      ['a b', '00', 1],
      ['a', '0', 1],
      ['a', '00', 1 << 20],
    ] as const) {
      const { plugin, end } = connect();
      end.register(name, index);
      end.answer('Configure', ConfigureResponse.encode({ events }).finish());
      await assert.rejects(plugin.start());
      assert.ok(plugin.isClosed);
    }
  });

  it('is dropped when it never registers, or leaves before', async () => {
    const silent = connect();
    await assert.rejects(silent.plugin.start(), /did not register within 60 ms/);
    const gone = connect();
    gone.socket.end();
    await assert.rejects(gone.plugin.start(), /left before/);
  });

  it('is synchronized in parts that fit, each object once and in order', async () => {
    const { plugin, end } = connect();
    end.register('sync', '00');
    end.answer('Configure', Buffer.alloc(0));
    await plugin.start();
    assert.ok(plugin.subscribes(14));
    const told: string[] = [];
    let parts = 0;
    end.answer('Synchronize', (payload) => {
      const { pods, more } = SynchronizeRequest.decode(payload);
      told.push(...pods.map(({ id }) => id));
      parts += 1;
      return SynchronizeResponse.encode({ update: [], more }).finish();
    });
    const pods = Array.from({ length: 60 }, (_, i) => ({
      ...PodSandbox.decode(Buffer.alloc(0)),
      id: String(i),
      name: 'x'.repeat(150_000),
    }));
    assert.deepEqual(await plugin.synchronize(pods, []), []);
    assert.deepEqual(
      told,
      pods.map(({ id }) => id),
    );
    assert.ok(parts > 1);
    plugin.close(null);
  });
});

function connect(): { plugin: Plugin; end: PluginEnd; socket: Duplex } {
  const [ours, theirs] = duplexPair();
  const plugin = new Plugin(ours, {
    runtimeName: 'pvecri',
    runtimeVersion: '0',
    registrationTimeoutMs: 60,
    requestTimeoutMs: 3000,
    configuration: '',
    identity: null,
    updateContainers: () => Promise.resolve([]),
  });
  return { plugin, end: new PluginEnd(theirs), socket: theirs };
}

type Answer = Uint8Array | ((payload: Buffer) => Uint8Array);

/** The plugin's side, with the pieces of the wire alone. */
class PluginEnd {
  readonly #socket: Duplex;
  readonly #answers = new Map<string, Answer>();

  constructor(socket: Duplex) {
    this.#socket = socket;
    const requests = new MessageReader(({ stream, data }) => {
      const { method, payload } = Request.decode(data ?? Buffer.alloc(0));
      const answer = this.#answers.get(method) ?? Buffer.alloc(0);
      const bytes = typeof answer === 'function' ? answer(payload) : answer;
      const response = Response.encode({ status: undefined, payload: Buffer.from(bytes) }).finish();
      socket.write(Buffer.concat(toFrames(1, encodeMessage(stream, 2, response))));
    });
    const frames = new FrameReader((id, bytes) => {
      if (id === 1) requests.push(bytes);
    });
    socket.on('data', (bytes: Buffer) => {
      frames.push(bytes);
    });
  }

  answer(method: string, answer: Answer): void {
    this.#answers.set(method, answer);
  }

  register(pluginName: string, pluginIdx: string): void {
    const payload = RegisterPluginRequest.encode({
      pluginName,
      pluginIdx,
      NRIVersion: '',
    }).finish();
    const request = Request.encode({
      service: 'nri.pkg.api.v1alpha1.Runtime',
      method: 'RegisterPlugin',
      payload: Buffer.from(payload),
      timeoutNano: 0n,
    }).finish();
    this.#socket.write(Buffer.concat(toFrames(2, encodeMessage(1, 1, request))));
  }
}
