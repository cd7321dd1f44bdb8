/** `pvecri exec` and `pvecri attach` as processes, in pipes and on real terminals. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { stringify } from 'yaml';
import { TestAgent } from '../../support/agent.js';
import { processesWith, until } from '../../support/processes.js';
import { pvecri } from './command.js';

const COMMAND = 'dist/pvecri.js';
const ECHO = 'echo ready; while read line; do echo "got $line"; done; echo eof; exec sleep 1000';

interface Running {
  child: ChildProcess;
  stdout: string;
  stderr: string;
  ended: Promise<number | null>;
}

function watch(child: ChildProcess): Running {
  const running: Running = {
    child,
    stdout: '',
    stderr: '',
    ended: once(child, 'close').then(([code]) => code as number | null),
  };
  child.stdout?.on('data', (chunk: Buffer) => (running.stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (running.stderr += chunk.toString()));
  return running;
}

describe('pvecri exec and attach', function () {
  this.timeout(120_000);
  let agent: TestAgent;

  const line = (...args: string[]): string[] => [COMMAND, '--config', agent.configFile, ...args];
  const start = (...args: string[]): Running =>
    watch(spawn(process.execPath, line(...args), { stdio: ['pipe', 'pipe', 'pipe'] }));
  const run = async (args: string[], input = ''): Promise<Running & { code: number | null }> => {
    const running = start(...args);
    running.child.stdin?.on('error', () => undefined);
    running.child.stdin?.end(input);
    const code = await running.ended;
    return { ...running, code, stdout: running.stdout, stderr: running.stderr };
  };
  /** A shell script on a terminal of its own; `$P` is the command. */
  const terminal = (script: string): Running =>
    watch(
      spawn('script', ['-qfec', `stty rows 31 cols 97; ${script}`, '/dev/null'], {
        stdio: ['pipe', 'pipe', 'pipe'],
        env: { ...process.env, P: [process.execPath, ...line()].join(' '), SHELL: '/bin/sh' },
      }),
    );
  const settingsKept = (output: string): boolean => {
    const settings = [...output.matchAll(/^([0-9a-f]+(?::[0-9a-f]+){10,})\r?$/gm)].map(
      ([, s]) => s,
    );
    return settings.length === 2 && settings[0] === settings[1];
  };
  const log = (name: string): string => {
    const [pod] = podFolders();
    return readFileSync(join(agent.logs, pod ?? '', name, '0.log'), 'utf8');
  };
  const podFolders = (): string[] => readdirSync(agent.logs);
  /** Commands in containers of this agent; other tests have theirs. */
  const commands = (): number[] =>
    readdirSync(join(agent.state, 'containers')).flatMap((id) =>
      processesWith(`pvecri-exec\0${id}\0`),
    );

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    const pulled = await pvecri(agent, ['pull', agent.busyboxReference()]);
    assert.equal(pulled.code, 0, pulled.stderr);
    const container = (name: string, script: string, more: object = {}): object => ({
      name,
      image: 'example.org/busybox:1',
      command: ['sh', '-c', script],
      ...more,
    });
    const text = stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web' },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [
          container('main', 'i=0; while sleep 0.02; do echo $i; i=$((i+1)); done'),
          container('shell', 'exec sh -i', { stdin: true, tty: true }),
          container('echo', ECHO, { stdin: true }),
          container('once', ECHO, { stdin: true, stdinOnce: true }),
          container('ends', 'read go; echo bye; exit 9', { stdin: true }),
        ],
      },
    });
    const { code, stderr } = await pvecri(agent, ['run', '-', '--log-dir', agent.logs], {
      stdin: text,
    });
    assert.equal(code, 0, stderr);
  });

  after(async () => {
    const { code, stderr } = await pvecri(agent, ['rm', '-f', 'web']);
    assert.equal(code, 0, stderr);
    assert.deepEqual(await agent.close(), []);
  });

  afterEach('no command is left', async () => {
    await until(() => commands().length === 0);
  });

  it('has a socket for root alone', () => {
    const path = join(agent.state, 'admin.sock');
    assert.equal(statSync(path).mode & 0o7777, 0o600);
    assert.equal(statSync(dirname(path)).mode & 0o77, 0);
  });

  describe('exec in a pipe', () => {
    it('shows output as it comes, stderr apart, and ends with the exit code', async () => {
      const running = start(
        'exec',
        '-i',
        'web/main',
        '--',
        'sh',
        '-c',
        'echo a; echo b >&2; cat; exit 7',
      );
      await until(() => running.stdout === 'a\n' && running.stderr === 'b\n');
      running.child.stdin?.write('more\n');
      await until(() => running.stdout === 'a\nmore\n');
      running.child.stdin?.end();
      assert.equal(await running.ended, 7);
    });

    it('ends by itself without -i although nobody ends its stdin', async () => {
      const running = start('exec', 'web/main', '--', 'sh', '-c', 'cat; kill -9 $$');
      assert.equal(await running.ended, 137);
    });

    it('carries 50 MB, byte by byte', async () => {
      const running = start('exec', '-i', 'web/main', '--', 'cat');
      const [sent, received] = [createHash('sha256'), createHash('sha256')];
      const block = randomBytes(1 << 20);
      running.child.stdout
        ?.removeAllListeners('data')
        .on('data', (chunk: Buffer) => received.update(chunk));
      await pipeline(function* () {
        for (let i = 0; i < 50; i += 1) {
          sent.update(block);
          yield block;
        }
      }, running.child.stdin!);
      assert.equal(await running.ended, 0, running.stderr);
      assert.equal(received.digest('hex'), sent.digest('hex'));
    });

    it('says what cannot be run, and where nothing can', async () => {
      const missing = await run(['exec', 'web/main', '--', '/nope']);
      assert.equal(missing.code, 1);
      assert.match(missing.stderr, /cannot run "\/nope": no such file or directory/);
      assert.equal((await run(['exec', 'web/none', '--', 'true'])).code, 3);
      const late = await run(['exec', '--timeout', '1s', 'web/main', '--', 'sleep', '100']);
      assert.equal(late.code, 124, late.stderr);
      assert.match(late.stderr, /did not end within 1000 ms and was killed/);
      assert.equal((await run(['exec', '-it', 'web/main', '--', 'sh'])).code, 2);
    });

    it('takes its command along when it is ended', async () => {
      const running = start('exec', 'web/main', '--', 'sh', '-c', 'sleep 4340 & sleep 4341');
      await until(() => processesWith('sleep\x00434').length === 2);
      running.child.kill('SIGINT');
      assert.equal(await running.ended, 130);
      await until(() => processesWith('sleep\x00434').length === 0);
    });

    it('holds the command while nobody reads, and ends with its reader', async () => {
      const running = start('exec', 'web/main', '--', 'yes');
      running.child.stdout?.removeAllListeners('data').pause();
      await until(() => commands().length === 1);
      running.child.stdout?.destroy();
      assert.equal(await running.ended, 0, running.stderr);
    });
  });

  describe('exec on a terminal', () => {
    it('is a shell with the size of the window, and leaves the terminal as it was', async () => {
      const running = terminal('stty -g; $P exec -it web/main -- sh; echo "code $?"; stty -g');
      const { child } = running;
      await until(() => running.stdout.includes('# '));
      child.stdin?.write('stty size; echo $TERM; tty\n');
      await until(() => /31 97\r\nxterm\r\n\/dev\/pts\/\d+\r\n/.test(running.stdout));
      const [pid] = processesWith(`${agent.configFile}\0exec\0-it`);
      const pty = readlinkSync(`/proc/${pid}/fd/0`);
      const stty = spawn('stty', ['-F', pty, 'rows', '40', 'cols', '120']);
      await once(stty, 'close');
      await until(() => {
        child.stdin?.write('stty size\n');
        return running.stdout.includes('40 120');
      });
      child.stdin?.write('sleep 4342\n');
      await until(() => processesWith('sleep\x004342').length === 1);
      child.stdin?.write('\x03');
      await until(() => processesWith('sleep\x004342').length === 0);
      child.stdin?.write('exit 5\n');
      await until(() => running.stdout.includes('code 5'));
      assert.equal(await running.ended, 0);
      assert.ok(settingsKept(running.stdout), running.stdout);
    });

    for (const signal of ['SIGTERM', 'SIGHUP'] as const)
      it(`restores it at ${signal}`, async () => {
        const running = terminal('stty -g; $P exec -it web/main -- sh; echo "code $?"; stty -g');
        await until(() => running.stdout.includes('# '));
        const [pid] = processesWith(`${agent.configFile}\0exec\0-it`);
        process.kill(pid ?? 0, signal);
        await running.ended;
        assert.match(running.stdout, /code 130/);
        assert.ok(settingsKept(running.stdout), running.stdout);
      });
  });

  describe('attach', () => {
    it('joins a shell, follows the window, and leaves by Ctrl-P Ctrl-Q', async () => {
      const running = terminal('stty -g; $P attach web/shell; echo "code $?"; stty -g');
      const { child } = running;
      await until(() => processesWith(`${agent.configFile}\0attach`).length === 1);
      await until(() => {
        child.stdin?.write('stty size\n');
        return running.stdout.includes('31 97');
      });
      child.stdin?.write('echo p\x10\x10q\n\x10');
      child.stdin?.write('\x11');
      await until(() => running.stdout.includes('code 0'));
      await running.ended;
      assert.match(running.stdout, /detached; the container goes on/);
      assert.ok(settingsKept(running.stdout), running.stdout);
      const state = await pvecri(agent, ['ps', '--pod', 'web', '--name', 'shell', '--json']);
      assert.match(state.stdout, /"running"/);
    });

    it('passes a pipe on, and leaves by Ctrl-C', async () => {
      const running = start('attach', 'web/echo');
      running.child.stdin?.write('one\n');
      await until(() => running.stdout.includes('got one\n'));
      running.child.kill('SIGINT');
      assert.equal(await running.ended, 130);
      const again = start('attach', 'web/echo');
      again.child.stdin?.end('two\n');
      await until(() => again.stdout.includes('got two\n'));
      assert.ok(!again.stdout.includes('eof'));
      again.child.kill('SIGINT');
      await again.ended;
    });

    it('ends the stdin of a container that has it once', async () => {
      const running = start('attach', 'web/once');
      running.child.stdin?.end('last\n');
      await until(() => running.stdout.endsWith('got last\neof\n'));
      running.child.kill('SIGINT');
      await running.ended;
      const late = await run(['attach', 'web/once']);
      assert.equal(late.code, 1);
      assert.match(late.stderr, /no stdin/);
    });

    it('ends with the container and its exit code', async () => {
      const running = start('attach', 'web/ends');
      running.child.stdin?.write('go\n');
      assert.equal(await running.ended, 9, running.stderr);
      assert.equal(running.stdout, 'bye\n');
      const late = await run(['attach', 'web/ends']);
      assert.equal(late.code, 1);
      assert.match(late.stderr, /is exited: only a running container can be attached to/);
    });

    it('is refused by a container without stdin, but for its output', async () => {
      const refused = await run(['attach', 'web/main']);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /has no stdin: attach without it/);
      const running = start('attach', '--no-stdin', 'web/main');
      await until(() => /^\d+$/m.test(running.stdout));
      running.child.kill('SIGINT');
      await running.ended;
    });
  });

  describe('when the agent', () => {
    it('is killed, the containers go on, and no line of their logs is lost', async () => {
      const [exec, attached] = [
        start('exec', 'web/main', '--', 'sh', '-c', 'exec sleep 4343'),
        start('attach', '--no-stdin', 'web/main'),
      ];
      await until(() => processesWith('sleep\x004343').length === 1 && attached.stdout !== '');
      await agent.stop('SIGKILL');
      assert.deepEqual(await Promise.all([exec.ended, attached.ended]), [4, 4]);
      await until(() => processesWith('sleep\x004343').length === 0);
      await agent.start();
      const again = start('attach', '--no-stdin', 'web/main');
      await until(() => /^\d+$/m.test(again.stdout));
      again.child.kill('SIGINT');
      await again.ended;
      const numbers = log('main')
        .trim()
        .split('\n')
        .map((text) => Number(text.split(' ')[3]));
      assert.deepEqual(numbers, [...numbers.keys()]);
    });

    it('stops, it waits for no session', async () => {
      const running = start('exec', '-i', 'web/main', '--', 'cat');
      await until(() => commands().length === 1);
      running.child.stdin?.write('x');
      await until(() => running.stdout === 'x');
      const before = Date.now();
      assert.equal(await agent.stop(), 0);
      assert.ok(Date.now() - before < 5000);
      assert.equal(await running.ended, 4, running.stderr);
      assert.match(running.stderr, /the agent stops/);
      await agent.start();
    });
  });
});
