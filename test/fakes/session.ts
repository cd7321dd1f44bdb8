/** A process with streams, in memory: the test plays the command. */
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { TerminalSize } from '../../src/core/model.js';
import type { AttachSession, ExecSession } from '../../src/core/ports/engine.js';

type AttachEnd = Awaited<AttachSession['ended']>;

export class FakeSession implements ExecSession, AttachSession {
  readonly stdin: PassThrough | null;
  readonly stdout = new PassThrough();
  readonly stderr: PassThrough | null;
  readonly exited: Promise<number>;
  readonly ended: Promise<AttachEnd>;
  readonly sizes: TerminalSize[] = [];
  fate: 'runs' | 'killed' | 'left' = 'runs';
  #exit: (code: number) => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;
  #end: (end: AttachEnd) => void = () => undefined;

  constructor(stdin: boolean, tty: boolean) {
    this.stdin = stdin ? new PassThrough() : null;
    this.stderr = tty ? null : new PassThrough();
    this.exited = new Promise((resolve, reject) => {
      this.#exit = resolve;
      this.#fail = reject;
    });
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.exited.catch(() => undefined);
  }

  resize(size: TerminalSize): void {
    this.sizes.push(size);
  }

  kill(): void {
    this.fate = 'killed';
    this.fail(new Error('killed'));
  }

  detach(): void {
    if (this.fate === 'runs') this.fate = 'left';
    this.stdout.destroy();
    this.stderr?.destroy();
    this.#end('detached');
  }

  /** The process ends: what it wrote is delivered first. */
  async exit(code: number, end: AttachEnd = 'exited'): Promise<void> {
    const outputs = this.stderr === null ? [this.stdout] : [this.stdout, this.stderr];
    for (const output of outputs) output.end();
    await Promise.all(outputs.map((output) => finished(output).catch(() => undefined)));
    this.#exit(code);
    this.#end(end);
  }

  fail(error: Error): void {
    this.stdout.destroy();
    this.stderr?.destroy();
    this.#fail(error);
  }
}
