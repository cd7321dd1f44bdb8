import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { RuntimeError, type ErrorKind } from '../../../src/core/errors.js';
import { loadAddon } from '../../../src/native/binding.js';
import { ProcessSpawner, runProcess, type RunOptions } from '../../../src/native/process.js';
import { openDescriptors, settlesAt } from '../../support/descriptors.js';

describe('runProcess', () => {
  const addon = loadAddon();
  let spawner: ProcessSpawner;
  let descriptors: number;

  beforeEach(() => {
    descriptors = openDescriptors();
    spawner = new ProcessSpawner(addon);
  });

  afterEach(async () => {
    spawner.close();
    spawner.close();
    assert.ok(await settlesAt(openDescriptors, descriptors), 'a descriptor was left open');
  });

  const shell = (script: string, more: Partial<RunOptions> = {}): ReturnType<typeof runProcess> =>
    runProcess(spawner, {
      file: '/bin/sh',
      argv: ['sh', '-c', script],
      env: ['PATH=/usr/bin:/bin'],
      ...more,
    });

  const ofKind = (kind: ErrorKind) => (error: unknown) =>
    error instanceof RuntimeError && error.kind === kind;

  const isAlive = (pid: number): boolean => {
    try {
      return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return false;
    }
  };

  it('keeps stdout, stderr and the status apart', async () => {
    const result = await shell('echo out; echo err >&2; exit 4');
    assert.equal(result.stdout.toString(), 'out\n');
    assert.equal(result.stderr.toString(), 'err\n');
    assert.deepEqual(result.status, { code: 4, signal: null });
    assert.equal(result.truncated, false);
  });

  it('feeds stdin, more than a pipe holds, and gets it back', async () => {
    const input = Buffer.alloc(3_000_000, 'abcdefg');
    const result = await runProcess(spawner, {
      file: '/bin/cat',
      argv: ['cat'],
      env: [],
      input,
      maxOutputBytes: input.length,
    });
    assert.ok(result.stdout.equals(input));
    assert.equal(result.truncated, false);
  });

  it('does not mind a program that reads no stdin', async () => {
    const result = await shell('exec <&-; exit 0', { input: Buffer.alloc(1_000_000) });
    assert.deepEqual(result.status, { code: 0, signal: null });
  });

  it('gives /dev/null for stdin where there is no input, and an end where it is empty', async () => {
    assert.equal((await shell('readlink /proc/self/fd/0')).stdout.toString(), '/dev/null\n');
    assert.equal((await shell('wc -c', { input: '' })).stdout.toString(), '0\n');
  });

  it('cuts output at its limit and lets the program finish', async () => {
    const result = await shell('head -c 5000000 /dev/zero; echo done >&2; exit 3', {
      maxOutputBytes: 1000,
    });
    assert.equal(result.stdout.length, 1000);
    assert.equal(result.stderr.toString(), 'done\n');
    assert.equal(result.truncated, true);
    assert.deepEqual(result.status, { code: 3, signal: null });
  });

  it('ends the whole process group at the time limit', async () => {
    const began = Date.now();
    const pids: number[] = [];
    const pipe = addon.pipe();
    const { Socket } = await import('node:net');
    const reader = new Socket({ fd: pipe.read, readable: true, writable: false });
    reader.on('data', (data: Buffer) => {
      pids.push(...data.toString().trim().split('\n').map(Number));
    });
    const run = shell('sleep 60 & echo $! >&3; echo $$ >&3; wait', {
      extraFds: [pipe.write],
      timeoutMs: 300,
    });
    await assert.rejects(run, ofKind('deadline-exceeded'));
    assert.ok(Date.now() - began < 2000);
    assert.equal(pids.length, 2);
    for (let attempt = 0; attempt < 100 && pids.some(isAlive); attempt += 1) await delay(5);
    assert.deepEqual(pids.filter(isAlive), []);
    reader.destroy();
    (await import('node:fs')).closeSync(pipe.write);
  });

  it('ends it at an abort, and starts nothing after one', async () => {
    const controller = new AbortController();
    const run = shell('sleep 60', { signal: controller.signal });
    setTimeout(() => {
      controller.abort();
    }, 50);
    await assert.rejects(run, ofKind('cancelled'));
    await assert.rejects(shell('exit 0', { signal: controller.signal }), ofKind('cancelled'));
  });

  it('does not wait for a daemon that keeps stdout', async () => {
    const began = Date.now();
    const result = await shell('setsid sleep 4 & echo left');
    assert.equal(result.stdout.toString(), 'left\n');
    assert.ok(Date.now() - began < 3000);
  });

  it('takes a time limit beyond 31 bits for what it means', async () => {
    assert.equal(
      (await shell('sleep 0.05; echo x', { timeoutMs: 2 ** 40 })).stdout.toString(),
      'x\n',
    );
  });

  it('rejects with the error of the spawn, and leaves no pipe', async () => {
    await assert.rejects(
      runProcess(spawner, { file: '/no/such', argv: ['x'], env: [], input: 'x' }),
      { code: 'ENOENT', syscall: 'execve' },
    );
  });

  it('answers those who wait when the spawner closes', async () => {
    const child = await spawner.spawn({
      file: '/bin/sleep',
      argv: ['sleep', '60'],
      env: [],
      fds: [-1, -1, -1],
    });
    const run = shell('sleep 0.2');
    spawner.close();
    assert.equal(await child.exited, null);
    await assert.rejects(run, ofKind('aborted'));
    addon.pidfdSignal(child.pidfd, 9);
    (await import('node:fs')).closeSync(child.pidfd);
  });

  it('runs many at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 100 }, (_, i) => shell(`echo ${i}; exit ${i}`)),
    );
    assert.deepEqual(
      results.map((result) => [result.stdout.toString(), result.status.code]),
      results.map((_, i) => [`${i}\n`, i]),
    );
  });
});
