/** The admin service over a node in memory: messages to streams and back, and what is refused. */
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, Client, Metadata, type ClientDuplexStream } from '@grpc/grpc-js';
import { connectAdmin, type AdminClient, type AdminStream } from '../../../src/admin/client.js';
import { AdminService, type ExecInput, type Output } from '../../../src/admin/gen/admin.js';
import { createAdminServer } from '../../../src/admin/server.js';
import { RuntimeError, type ErrorKind } from '../../../src/core/errors.js';
import type { FrontEnd } from '../../../src/cri/front-end.js';
import { createContainer } from '../../../src/runtime/container-create.js';
import { startContainer } from '../../../src/runtime/container-start.js';
import { runSandbox } from '../../../src/runtime/sandbox-run.js';
import { FakeNode } from '../../fakes/node.js';
import { containerRequest, sandboxRequest } from '../../fakes/requests.js';
import type { FakeSession } from '../../fakes/session.js';
import { until } from '../../support/processes.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const fails =
  (kind: ErrorKind, message: RegExp) =>
  (error: unknown): true => {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    return true;
  };

/** Everything the agent sends, as words. */
async function words(stream: AdminStream): Promise<string[]> {
  const seen: string[] = [];
  for await (const message of stream.messages()) {
    seen.push(
      message.$case === 'started' ? 'started' : `${message.$case} ${message.value.toString()}`,
    );
  }
  return seen;
}

describe('the admin service', () => {
  let folder: string;
  let node: FakeNode;
  let server: FrontEnd;
  let listener: Server;
  let client: AdminClient;
  let id: string;
  let ready: boolean;

  const lastExec = async (): Promise<FakeSession> => {
    await until(() => node.execs.length > 0);
    return node.execs.at(-1)!.session;
  };
  const socket = (): string => join(folder, 'admin.sock');

  beforeEach(async () => {
    folder = makeTempFolder();
    ready = true;
    node = new FakeNode();
    node.addImage('busybox');
    const context = node.context();
    const pod = await runSandbox(context, sandboxRequest());
    id = await createContainer(context, containerRequest(pod, { stdin: true }));
    await startContainer(context, id);
    server = createAdminServer(context, { isReady: () => ready, log: context.log });
    listener = createServer((connection) => {
      server.accept(connection);
    });
    await new Promise<void>((done) => listener.listen(socket(), done));
    client = connectAdmin(socket());
  });

  afterEach(async () => {
    client.close();
    await server.close(100);
    listener.close();
    removeTempFolder(folder);
  });

  it('passes bytes, sizes and the exit code on', async () => {
    const stream = client.exec({
      containerId: id,
      command: ['sh', '-c', 'x'],
      tty: true,
      stdin: true,
      size: { rows: 3, columns: 4 },
      timeoutMs: 5000n,
    });
    const seen = words(stream);
    const session = await lastExec();
    const { request } = node.execs[0]!;
    assert.deepEqual(
      [request.process.argv, request.process.tty, request.stdin, request.size, request.timeoutMs],
      [['sh', '-c', 'x'], true, true, { rows: 3, columns: 4 }, 5000],
    );
    assert.ok(request.process.env.includes('TERM=xterm'));
    stream.resize({ rows: 5, columns: 6 });
    await stream.stdin(Buffer.from('typed'));
    await stream.stdinEnd();
    let typed = '';
    for await (const chunk of session.stdin!) typed += String(chunk);
    assert.equal(typed, 'typed');
    assert.deepEqual(session.sizes, [{ rows: 5, columns: 6 }]);
    session.stdout.write('shown');
    await session.exit(7);
    assert.deepEqual(await seen, ['started', 'stdout shown', 'exitCode 7']);
    assert.equal(session.fate, 'runs');
  });

  it('keeps stderr apart', async () => {
    const seen = words(client.exec({ containerId: id, command: ['x'] }));
    const session = await lastExec();
    assert.equal(session.stdin, null);
    session.stderr?.write('e');
    await session.exit(0);
    assert.deepEqual(await seen, ['started', 'stderr e', 'exitCode 0']);
  });

  it('reads no faster than its caller', async () => {
    const stream = client.exec({ containerId: id, command: ['yes'] });
    const messages = stream.messages();
    const first = await messages.next();
    assert.ok(first.done !== true && first.value.$case === 'started');
    const session = await lastExec();
    let written = 0;
    const block = Buffer.alloc(1 << 16);
    const write = (): void => {
      while (written < 1 << 28 && session.stdout.write(block)) written += block.length;
    };
    session.stdout.on('drain', write);
    write();
    let before = -1;
    while (before !== written) {
      before = written;
      await sleep(100);
    }
    assert.ok(written < 16 << 20, `${written} bytes are on their way`);
    stream.cancel();
    await assert.rejects(async () => {
      for await (const { $case } of messages) assert.equal($case, 'stdout');
    });
    await until(() => session.fate === 'left');
  });

  it('takes no more input than the process reads', async () => {
    const stream = client.exec({ containerId: id, command: ['x'], stdin: true });
    const seen = words(stream).catch(() => []);
    const session = await lastExec();
    let sent = 0;
    const sending = (async () => {
      for (; sent < 1 << 28; sent += 1 << 16) {
        const more = await Promise.race([
          stream.stdin(Buffer.alloc(1 << 16)).then(() => true),
          sleep(500, false),
        ]);
        if (!more) return;
      }
    })();
    await sending;
    assert.ok(sent < 16 << 20, `${sent} bytes were taken`);
    session.stdin?.resume();
    await session.exit(0);
    assert.equal((await seen).at(-1), 'exitCode 0');
  });

  it('ends the command with its caller, or lets it go on, as asked', async () => {
    for (const [endWithCaller, fate] of [
      [false, 'left'],
      [true, 'killed'],
    ] as const) {
      node.execs.length = 0;
      const stream = client.exec({ containerId: id, command: ['x'], endWithCaller });
      const seen = assert.rejects(words(stream), fails('cancelled', /./));
      const session = await lastExec();
      stream.cancel();
      await seen;
      await until(() => session.fate === fate);
    }
  });

  it('attaches, and tells the exit code of the container', async () => {
    const stream = client.attach({ containerId: id, stdin: true });
    const seen = words(stream);
    await until(() => node.attachments.length === 1);
    const { session } = node.attachments[0]!;
    session.stdout.write('x');
    node.exit(id, 9);
    await session.exit(0);
    assert.deepEqual(await seen, ['started', 'stdout x', 'exitCode 9']);
  });

  it('says that a client was too slow', async () => {
    const seen = assert.rejects(
      words(client.attach({ containerId: id })),
      fails('aborted', /its output was not read for too long/),
    );
    await until(() => node.attachments.length === 1);
    await node.attachments[0]!.session.exit(0, 'dropped');
    await seen;
  });

  it('answers a failure by its code', async () => {
    await assert.rejects(
      words(client.exec({ containerId: 'ff', command: ['x'] })),
      fails('not-found', /container "ff" does not exist/),
    );
    await assert.rejects(
      words(client.exec({ containerId: id, command: [] })),
      fails('invalid-argument', /cmd is empty/),
    );
    await assert.rejects(
      words(client.exec({ containerId: id, command: ['x'], timeoutMs: -1n })),
      fails('invalid-argument', /negative/),
    );
    await assert.rejects(
      words(client.exec({ containerId: id, command: ['x'], size: { rows: 1, columns: 65536 } })),
      fails('invalid-argument', /out of range/),
    );
    node.failures.set(
      'engine.execStream',
      new RuntimeError('invalid-argument', 'cannot run "/nope"'),
    );
    await assert.rejects(
      words(client.exec({ containerId: id, command: ['/nope'] })),
      fails('invalid-argument', /cannot run "\/nope"/),
    );
    ready = false;
    await assert.rejects(
      words(client.exec({ containerId: id, command: ['x'] })),
      fails('unavailable', /starting or stopping/),
    );
  });

  it('lets go of every session when the agent stops', async () => {
    const stream = client.exec({ containerId: id, command: ['x'] });
    const seen = assert.rejects(words(stream), fails('unavailable', /the agent stops/));
    const session = await lastExec();
    await sleep(20);
    await server.close(1000);
    await seen;
    assert.equal(session.fate, 'left');
  });

  describe('refuses', () => {
    let raw: Client;
    let call: ClientDuplexStream<ExecInput, Output>;
    beforeEach(() => {
      raw = new Client(`unix:${socket()}`, credentials.createInsecure());
      call = raw.makeBidiStreamRequest(
        AdminService.exec.path,
        AdminService.exec.requestSerialize,
        AdminService.exec.responseDeserialize,
        new Metadata(),
        {},
      );
      call.resume();
    });
    afterEach(() => {
      raw.close();
    });
    const refusal = (): Promise<string> =>
      new Promise((resolve) =>
        call.once('error', (error: Error) => {
          resolve(error.message);
        }),
      );
    const start = (stdin: boolean): ExecInput => ({
      message: {
        $case: 'start',
        value: {
          containerId: id,
          command: ['x'],
          tty: false,
          stdin,
          size: undefined,
          timeoutMs: 0n,
          endWithCaller: false,
        },
      },
    });

    const cases: [what: string, messages: (() => ExecInput)[], error: RegExp][] = [
      [
        'anything before start',
        [() => ({ message: { $case: 'stdinEnd', value: {} } })],
        /^3 INVALID_ARGUMENT: the first message is not start/,
      ],
      ['an empty message', [() => start(true), () => ({ message: undefined })], /is empty/],
      ['a second start', [() => start(true), () => start(true)], /start was sent twice/],
      [
        'stdin that was not asked for',
        [() => start(false), () => ({ message: { $case: 'stdin', value: Buffer.from('x') } })],
        /did not ask for stdin/,
      ],
      [
        'a long message',
        [
          () => start(true),
          () => ({ message: { $case: 'stdin', value: Buffer.alloc((1 << 20) + 1) } }),
        ],
        /send at most 1048576/,
      ],
      [
        'a message that is far too long',
        [() => start(true), () => ({ message: { $case: 'stdin', value: Buffer.alloc(5 << 20) } })],
        /RESOURCE_EXHAUSTED/,
      ],
      [
        'an impossible size',
        [
          () => start(true),
          () => ({ message: { $case: 'resize', value: { rows: 65536, columns: 1 } } }),
        ],
        /out of range/,
      ],
    ];
    for (const [what, messages, error] of cases)
      it(what, async () => {
        const refused = refusal();
        for (const message of messages) call.write(message());
        assert.match(await refused, error);
        await until(() => node.execs.every(({ session }) => session.fate === 'left'));
      });
  });
});
