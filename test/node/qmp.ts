/** QEMU's control socket: one command at a time, as JSON lines. */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

interface Message {
  return?: unknown;
  error?: { desc: string };
}

export class Qmp {
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  static async open(path: string): Promise<Qmp> {
    const socket = await new Promise<Socket>((resolve, reject) => {
      const attempt = connect(path, () => {
        resolve(attempt);
      }).once('error', reject);
    });
    // An end in the middle of an answer shows as the end of the lines.
    socket.on('error', () => undefined);
    const qmp = new Qmp(socket);
    await qmp.#lines.next(); // the greeting
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  async execute(command: string, parameters: object = {}): Promise<unknown> {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: parameters })}\n`);
    for (;;) {
      const line = await this.#lines.next();
      if (line.done === true) throw new Error(`qemu ended during ${command}`);
      const message = JSON.parse(line.value) as Message;
      if (message.error) throw new Error(`qemu: ${command}: ${message.error.desc}`);
      // Everything else is an event.
      if ('return' in message) return message.return;
    }
  }

  /** Polls a query until its `status` is this one. */
  async until(query: string, status: string, limitMs: number): Promise<void> {
    const end = Date.now() + limitMs;
    for (;;) {
      const answer = (await this.execute(query)) as { status?: string };
      if (answer.status === status) return;
      if (answer.status === 'failed' || answer.status === 'internal-error' || Date.now() > end) {
        throw new Error(`qemu: ${query} is ${answer.status ?? 'unknown'}, not ${status}`);
      }
      await sleep(50);
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}
