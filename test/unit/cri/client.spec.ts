/** The client of the CRI socket against a real gRPC server on a real unix socket. */
import { strict as assert } from 'node:assert';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { sendUnaryData, ServerUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import { RuntimeError } from '../../../src/core/errors.js';
import type { ErrorKind } from '../../../src/core/errors.js';
import { connectCri } from '../../../src/cri/client.js';
import type { CriClient } from '../../../src/cri/client.js';
import {
  ContainerEventResponse,
  ExecSyncRequest,
  ExecSyncResponse,
  GetEventsRequest,
  ImageStatusRequest,
  ImageStatusResponse,
  RuntimeServiceService,
  ImageServiceService,
  StatusRequest,
  StatusResponse,
  VersionRequest,
  VersionResponse,
} from '../../../src/cri/gen/index.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

async function serve(
  path: string,
  runtime: UntypedServiceImplementation,
  image: UntypedServiceImplementation = {},
): Promise<Server> {
  const server = new Server({ 'grpc.max_receive_message_length': 64 << 20 });
  server.addService(RuntimeServiceService, runtime);
  server.addService(ImageServiceService, image);
  await new Promise<void>((fulfil, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) fulfil();
      else reject(error);
    });
  });
  return server;
}

function fails(kind: ErrorKind, message: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, kind);
    assert.match(error.message, message);
    return true;
  };
}

describe('cri client', () => {
  let folder: string;
  let socket: string;
  let client: CriClient;
  const servers: Server[] = [];
  beforeEach(() => {
    folder = makeTempFolder();
    socket = join(folder, 'cri.sock');
    client = connectCri(socket);
  });
  afterEach(() => {
    client.close();
    for (const server of servers.splice(0)) server.forceShutdown();
    removeTempFolder(folder);
  });

  it('carries requests and answers of both services', async () => {
    servers.push(
      await serve(
        socket,
        {
          version: (
            call: ServerUnaryCall<VersionRequest, VersionResponse>,
            answer: sendUnaryData<VersionResponse>,
          ) => {
            answer(null, VersionResponse.create({ runtimeName: `for ${call.request.version}` }));
          },
        },
        {
          imageStatus: (
            call: ServerUnaryCall<ImageStatusRequest, ImageStatusResponse>,
            answer: sendUnaryData<ImageStatusResponse>,
          ) => {
            const id = call.request.image?.image ?? '';
            answer(null, ImageStatusResponse.create({ image: { id, size: 2n ** 63n + 1n } }));
          },
        },
      ),
    );
    const version = await client.runtime.version(VersionRequest.create({ version: '0.1.0' }));
    assert.equal(version.runtimeName, 'for 0.1.0');
    const request = ImageStatusRequest.create({ image: { image: 'busybox' } });
    const { image } = await client.image.imageStatus(request);
    assert.equal(image?.id, 'busybox');
    assert.equal(image.size, 9223372036854775809n);
  });

  it('takes messages beyond the 4 MiB that grpc-js allows by itself', async () => {
    servers.push(
      await serve(socket, {
        execSync: (
          call: ServerUnaryCall<ExecSyncRequest, ExecSyncResponse>,
          answer: sendUnaryData<ExecSyncResponse>,
        ) => {
          const stdout = Buffer.alloc(20 << 20, call.request.cmd[0]);
          answer(null, ExecSyncResponse.create({ stdout }));
        },
      }),
    );
    const { stdout } = await client.runtime.execSync(ExecSyncRequest.create({ cmd: ['y'] }));
    assert.equal(stdout.length, 20 << 20);
    assert.equal(stdout.at(-1), 'y'.charCodeAt(0));
  });

  const codes: [code: status, kind: ErrorKind][] = [
    [status.CANCELLED, 'cancelled'],
    [status.UNKNOWN, 'unknown'],
    [status.INVALID_ARGUMENT, 'invalid-argument'],
    [status.DEADLINE_EXCEEDED, 'deadline-exceeded'],
    [status.NOT_FOUND, 'not-found'],
    [status.ALREADY_EXISTS, 'already-exists'],
    [status.PERMISSION_DENIED, 'permission-denied'],
    [status.RESOURCE_EXHAUSTED, 'resource-exhausted'],
    [status.FAILED_PRECONDITION, 'failed-precondition'],
    [status.ABORTED, 'aborted'],
    [status.OUT_OF_RANGE, 'invalid-argument'],
    [status.UNIMPLEMENTED, 'unimplemented'],
    [status.INTERNAL, 'internal'],
    [status.UNAVAILABLE, 'unavailable'],
    [status.DATA_LOSS, 'data-loss'],
    [status.UNAUTHENTICATED, 'unauthenticated'],
  ];
  for (const [code, kind] of codes) {
    it(`turns ${status[code]} into ${kind} and keeps the message`, async () => {
      servers.push(
        await serve(socket, {
          version: (_call: unknown, answer: sendUnaryData<VersionResponse>) => {
            answer({ code, details: 'sandbox "x" is odd' });
          },
        }),
      );
      await assert.rejects(
        client.runtime.version(VersionRequest.create()),
        fails(kind, /^sandbox "x" is odd$/),
      );
    });
  }

  it('names the socket and the way to start the agent when there is no socket', async () => {
    await assert.rejects(
      client.runtime.status(StatusRequest.create()),
      fails('unavailable', /\/cri\.sock: there is no such socket; .*systemctl start pvecri$/),
    );
  });

  it('says so when the socket is there and nothing listens', async () => {
    // A file that is no socket refuses a connection exactly as one without a listener does.
    writeFileSync(socket, '');
    await assert.rejects(
      client.runtime.status(StatusRequest.create()),
      fails('unavailable', /nothing listens there; .*systemctl start pvecri$/),
    );
  });

  it('refuses a path that no unix socket can have', () => {
    assert.throws(
      () => connectCri(`/${'x'.repeat(107)}`),
      fails('invalid-argument', /too long: unix sockets allow 107 bytes$/),
    );
    connectCri(`/${'x'.repeat(106)}`).close();
  });

  it('connects to an agent that comes up later', async () => {
    await assert.rejects(
      client.runtime.version(VersionRequest.create()),
      fails('unavailable', /./),
    );
    servers.push(
      await serve(socket, {
        version: (_call: unknown, answer: sendUnaryData<VersionResponse>) => {
          answer(null, VersionResponse.create({ version: 'up' }));
        },
      }),
    );
    for (const end = Date.now() + 5000; ; await new Promise((wake) => setTimeout(wake, 50))) {
      try {
        assert.equal((await client.runtime.version(VersionRequest.create())).version, 'up');
        return;
      } catch (error) {
        if (Date.now() > end || error instanceof assert.AssertionError) throw error;
      }
    }
  });

  describe('of a server that never answers', () => {
    beforeEach(async () => {
      servers.push(await serve(socket, { status: () => undefined }));
    });

    it('ends at its own deadline', async () => {
      await assert.rejects(
        client.runtime.status(StatusRequest.create(), { timeoutMs: 50 }),
        fails('deadline-exceeded', /./),
      );
      const hasty = connectCri(socket, { timeoutMs: 50 });
      try {
        await assert.rejects(
          hasty.runtime.status(StatusRequest.create()),
          fails('deadline-exceeded', /./),
        );
      } finally {
        hasty.close();
      }
    });

    it('ends when the caller aborts', async () => {
      const abort = new AbortController();
      const call = client.runtime.status(StatusRequest.create(), { signal: abort.signal });
      setTimeout(() => {
        abort.abort();
      }, 50);
      await assert.rejects(call, fails('cancelled', /./));
      await assert.rejects(
        client.runtime.status(StatusRequest.create(), { signal: abort.signal }),
        fails('cancelled', /RuntimeService\/Status was cancelled$/),
      );
    });
  });

  it('iterates over a stream, and cancels it when the loop is left', async () => {
    let cancelled: (() => void) | undefined;
    const left = new Promise<void>((fulfil) => {
      cancelled = fulfil;
    });
    servers.push(
      await serve(socket, {
        getContainerEvents: (call: {
          write: (event: ContainerEventResponse) => void;
          on: (event: 'cancelled', listener: () => void) => void;
        }) => {
          call.on('cancelled', () => cancelled?.());
          for (const containerId of ['a', 'b', 'c']) {
            call.write(ContainerEventResponse.create({ containerId }));
          }
        },
      }),
    );
    const seen: string[] = [];
    for await (const event of client.runtime.getContainerEvents(GetEventsRequest.create())) {
      seen.push(event.containerId);
      if (seen.length === 2) break;
    }
    assert.deepEqual(seen, ['a', 'b']);
    await left;
  });

  it('fails a stream with the kind of its status', async () => {
    servers.push(await serve(socket, {}));
    const stream = client.runtime.getContainerEvents(GetEventsRequest.create());
    await assert.rejects(
      async () => {
        for await (const event of stream) assert.fail(event.containerId);
      },
      fails('unimplemented', /./),
    );
  });

  it('answers nothing the server left out with the defaults of the protocol', async () => {
    servers.push(
      await serve(socket, {
        status: (_call: unknown, answer: sendUnaryData<StatusResponse>) => {
          answer(null, StatusResponse.create());
        },
      }),
    );
    const response = await client.runtime.status(StatusRequest.create());
    assert.equal(response.status, undefined);
    assert.deepEqual(response.info, new Map());
    assert.deepEqual(response.runtimeHandlers, []);
  });
});
