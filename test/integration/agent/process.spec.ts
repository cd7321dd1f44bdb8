/** The agent as a process: its configuration, its sockets, its lock, its signals. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect as connectUnix, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectCri } from '../../../src/cri/client.js';
import { TestAgent } from '../../support/agent.js';
import { inNetworkNamespace } from '../../support/network-namespace.js';

describe('agent process', function () {
  this.timeout(300_000);
  let agent: TestAgent;

  beforeEach(() => {
    agent = new TestAgent();
  });

  afterEach(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  const config = (name: string, text: string): string => {
    const file = join(agent.folder, name);
    writeFileSync(file, text);
    return file;
  };
  const base = (): string =>
    `root = "${agent.root}"\nstate = "${agent.state}"\nsocket = "${agent.socket}"\n`;
  const logged = async (expected: RegExp): Promise<void> => {
    for (let i = 0; !expected.test(agent.output); i++) {
      assert.ok(i < 500, agent.output);
      await sleep(20);
    }
  };
  /** Runs an agent that is to end by itself, and answers its exit code. */
  const fails = async (file: string): Promise<number | null> => {
    const [code] = (await once(agent.launch(file), 'close')) as [number | null];
    return code;
  };

  it('names the nearest key, the file and the value of a wrong configuration', async () => {
    const unknown = config('a.toml', '[log]\nlevle = "info"\n');
    for (const args of [
      ['agent', '--check-config', '--config', unknown],
      ['agent', '--config', unknown],
    ]) {
      const { code, output } = await agent.run(...args);
      assert.equal(code, 2);
      assert.match(output, /a\.toml.*log\.levle.*nearest known key is log\.level/);
    }
    const wrong = await agent.run(
      'agent',
      '--check-config',
      '--config',
      config('b.toml', 'root = 5'),
    );
    assert.deepEqual(
      [wrong.code, /b\.toml: key root is 5: expected/.test(wrong.output)],
      [2, true],
    );
    const missing = await agent.run('agent', '--check-config', '--config', '/nonexistent.toml');
    assert.equal(missing.code, 2);
    assert.match(missing.output, /\/nonexistent\.toml/);
    const usage = await agent.run('agent', '--confg', 'x');
    assert.equal(usage.code, 2);
    assert.match(usage.output, /--confg/);
  });

  it('accepts a good configuration', async () => {
    const { code, output } = await agent.run(
      'agent',
      '--check-config',
      '--config',
      agent.configFile,
    );
    assert.deepEqual([code, output], [0, `configuration is good: ${agent.configFile}\n`]);
  });

  it('refuses a second agent on the same root, and the first goes on', async () => {
    await agent.start();
    assert.equal(await fails(config('second.toml', base().replace('cri.sock', 'other.sock'))), 1);
    assert.match(agent.output, new RegExp(`${agent.root} is in use.*pid ${agent.pid}`));
    assert.ok(!existsSync(join(agent.folder, 'other.sock')));
    await agent.client.runtime.status({ verbose: false });
  });

  it('refuses a socket that another agent answers on', async () => {
    await agent.start();
    const text = `root = "${agent.folder}/r2"\nstate = "${agent.folder}/s2"\nsocket = "${agent.socket}"\n`;
    assert.equal(await fails(config('second.toml', text)), 1);
    assert.match(agent.output, new RegExp(`socket ${agent.socket} is in use`));
    await agent.client.runtime.status({ verbose: false });
  });

  it('replaces a dead socket, and keeps a file that is no socket', async () => {
    await agent.start();
    await agent.stop('SIGKILL');
    assert.ok(statSync(agent.socket).isSocket());
    await agent.start();
    assert.equal(statSync(agent.socket).mode & 0o777, 0o600);
    assert.equal(await agent.stop(), 0);
    assert.ok(!existsSync(agent.socket));
    writeFileSync(agent.socket, 'precious');
    assert.equal(await fails(agent.configFile), 1);
    assert.match(agent.output, /is not a socket/);
    unlinkSync(agent.socket);
  });

  it('names a streaming port in use, and leaves no socket behind', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as AddressInfo;
    // The holder is in the host's network: so is this agent.
    const file = config('port.toml', `${base()}[streaming]\nport = ${port}\n`);
    const { code, output } = await agent.run('agent', '--config', file);
    assert.equal(code, 1);
    assert.match(output, new RegExp(`streaming.port ${port} on 127.0.0.1 is in use`));
    assert.ok(!existsSync(agent.socket));
    await new Promise((resolve) => holder.close(resolve));
  });

  it('answers an unknown stream token with 404, on the loopback alone', async () => {
    await agent.start();
    const url = /streaming=(http:\/\/127\.0\.0\.1:\d+)/.exec(agent.output)?.[1] ?? '';
    const answer = inNetworkNamespace(
      agent.netns,
      'sh',
      '-c',
      `wget -O- ${url}/exec/token 2>&1 || true`,
    );
    assert.match(answer, /404/);
  });

  it('takes over what can be reloaded on SIGHUP, and keeps going with a broken file', async () => {
    await agent.start();
    const reload = async (text: string, expected: RegExp) => {
      writeFileSync(agent.configFile, text);
      process.kill(agent.pid, 'SIGHUP');
      await logged(expected);
    };
    const folder = join(agent.folder, 'elsewhere');
    await reload(
      `${base().replace('/root"', '/moved"')}[network]\nconf_dir = "${folder}"\n`,
      /configuration reloaded.*apply=.*network\.conf_dir.*needsRestart=.*root/,
    );
    const { status } = await agent.client.runtime.status({ verbose: false });
    const network = status?.conditions.find((c) => c.type === 'NetworkReady');
    assert.deepEqual([network?.status, network?.message.includes(folder)], [false, true]);
    await reload('nonsense', /configuration not reloaded/);
    await agent.client.runtime.status({ verbose: false });
  });

  it('refuses a peer that is not root even where the socket lets it in', async () => {
    await agent.start();
    chmodSync(agent.folder, 0o755);
    chmodSync(agent.socket, 0o666);
    const script = `const s = require('net').connect(${JSON.stringify(agent.socket)});
      s.on('close', () => console.log('closed')); s.on('error', () => {}); s.write('PRI *');`;
    const output = execFileSync(
      'setpriv',
      ['--reuid=65534', '--clear-groups', process.execPath, '-e', script],
      {
        encoding: 'utf8',
        timeout: 20_000,
      },
    );
    assert.equal(output, 'closed\n');
    await logged(/refused a connection: it is for root alone uid=65534/);
  });

  it('ends in spite of a client that does not hang up', async () => {
    await agent.start();
    const client = connectUnix({ path: agent.socket, allowHalfOpen: true });
    // The preface of HTTP/2 and empty SETTINGS, and then never a word nor a FIN.
    client.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
    await once(client, 'data');
    client.on('error', () => undefined);
    assert.equal(await agent.stop(), 0);
    client.destroy();
  });

  it('serves a socket that systemd passes, and leaves it in place', async () => {
    const path = join(agent.folder, 'passed.sock');
    // systemd's part: descriptor 3 listens, and LISTEN_PID is the process that becomes the agent.
    const activate = `use Socket; use POSIX (); $^F = 10; socket(S, AF_UNIX, SOCK_STREAM, 0) or die;
      bind(S, pack_sockaddr_un(shift)) or die; listen(S, 16) or die; POSIX::dup2(fileno(S), 3) or die;
      $ENV{LISTEN_FDS} = 1; $ENV{LISTEN_PID} = $$; exec @ARGV or die;`;
    const child = agent.launch(agent.configFile, ['perl', '-e', activate, path]);
    await logged(/INFO {2}ready/);
    const client = connectCri(path);
    const { runtimeName } = await client.runtime.version({ version: '' }, { timeoutMs: 5000 });
    assert.equal(runtimeName, 'pvecri');
    client.close();
    child.kill('SIGTERM');
    assert.deepEqual(await once(child, 'exit'), [0, null]);
    assert.ok(existsSync(path), 'the socket is systemd’s');
    assert.ok(!existsSync(agent.socket));
  });
});
