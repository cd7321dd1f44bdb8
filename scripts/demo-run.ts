// The demo itself; scripts/demo sets up and calls it.
import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endByForce, hostInterfaces, leftovers, networkOf } from './demo-host.js';
import type { Traces } from './demo-host.js';

interface Step {
  name: string;
  startMs: number;
  durationMs: number;
}

interface StartedPod {
  id: string;
  ips: string[];
  steps: Step[];
}

const COMMAND = resolve('dist/pvecri.js');
const IMAGE = 'docker.io/library/busybox:local';
const MANIFEST = 'examples/web-pod.yaml';
const BAR_WIDTH = 44;

const steps: Step[] = [];
const origin = performance.now();
const isColoured = process.stdout.isTTY && !process.env['NO_COLOR'];
let interruption: string | undefined;
/** From here an interruption is not heeded any more: what was made is being taken away. */
let isEnding = false;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    interruption ??= name;
  });
}

const [option, folderOption] = process.argv.slice(2);
if (option === '--end' && folderOption !== undefined) await endKept(resolve(folderOption));
else if (option === undefined || option === '--keep') await demonstrate(option === '--keep');
else {
  console.error('usage: scripts/demo [--keep | --end FOLDER]');
  process.exitCode = 2;
}

async function demonstrate(isKept: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'pvecri-demo-'));
  const traces: Traces = { folder, cgroup: '', network: '', interfaces: hostInterfaces() };
  let agent: number | undefined;
  let hasFailed = false;
  try {
    title('An agent of its own');
    agent = await time('start the agent', () => startAgent(traces));
    say(`files in ${folder}, network namespace ${traces.network}, process ${agent}`);
    await makeImage(folder);
    await showPod(traces, agent);
    if (isKept) {
      keep(traces, agent);
      return;
    }
    await endPod(folder);
  } catch (error) {
    hasFailed = true;
    // Ctrl-C also went to the program that failed; our own signal is told after a turn of the loop.
    await sleep(1);
    if (interruption === undefined) {
      console.error(`\ndemo: ${error instanceof Error ? error.message : String(error)}`);
      showAgentLog(folder);
    } else {
      console.error('\ndemo: interrupted');
    }
  }
  isEnding = true;
  title('The end');
  if (agent !== undefined) {
    const pid = agent;
    // What is left of an agent that does not end is found and ended by the check that follows.
    await time('stop the agent', () => stopAgent(folder, pid, hasFailed)).catch(
      (error: unknown) => {
        hasFailed = true;
        console.error(`demo: ${String(error)}`);
      },
    );
  }
  if (!hasFailed) showTimeline();
  const isClean = verify(traces);
  if (interruption !== undefined) process.exitCode = 130;
  else if (hasFailed || !isClean) process.exitCode = 1;
  else console.log('\nAll of it worked, and nothing is left.');
}

/** In a network namespace of its own: bridge, addresses and firewall rules go when it goes. */
async function startAgent(traces: Traces): Promise<number> {
  const { folder } = traces;
  mkdirSync(join(folder, 'net.d'));
  mkdirSync(join(folder, 'logs'));
  writeFileSync(
    join(folder, 'net.d', '10-demo.conflist'),
    JSON.stringify({
      cniVersion: '1.0.0',
      name: 'demo',
      plugins: [
        {
          type: 'bridge',
          bridge: 'demo0',
          isGateway: true,
          ipam: {
            type: 'host-local',
            dataDir: join(folder, 'leases'),
            ranges: [[{ subnet: '10.88.0.0/24' }]],
            routes: [{ dst: '0.0.0.0/0' }],
          },
        },
      ],
    }),
  );
  const config = join(folder, 'config.toml');
  writeFileSync(
    config,
    `root = "${folder}/root"\nstate = "${folder}/state"\nsocket = "${folder}/pvecri.sock"\n` +
      `[network]\nconf_dir = "${folder}/net.d"\n`,
  );
  const log = openSync(join(folder, 'agent.log'), 'a');
  const start = 'ip link set lo up && exec "$0" "$@"';
  const child = spawn(
    'unshare',
    ['--net', 'sh', '-c', start, process.execPath, COMMAND, 'agent', '--config', config],
    // Detached: Ctrl-C is for the demo, which then ends the agent in order.
    { stdio: ['ignore', log, log], detached: true },
  );
  child.unref();
  const pid = child.pid;
  if (pid === undefined) throw new Error('cannot start unshare: is util-linux installed?');
  await until('the agent does not answer', () => {
    if (child.exitCode !== null) throw new Error(`the agent ended with code ${child.exitCode}`);
    return existsSync(join(folder, 'pvecri.sock')) && tryCommand(folder, ['pods']) !== undefined;
  });
  traces.network = networkOf(pid);
  return pid;
}

async function makeImage(folder: string): Promise<void> {
  title("An image from this host's busybox");
  const reference = await time('build the image', () =>
    execFileSync(
      process.execPath,
      ['scripts/make-busybox-image.js', join(folder, 'image'), IMAGE],
      {
        encoding: 'utf8',
      },
    ).trim(),
  );
  await time('pull the image', () => {
    show(folder, ['pull', reference]);
  });
  show(folder, ['images']);
}

async function showPod(traces: Traces, agent: number): Promise<void> {
  const { folder } = traces;
  title('A pod with two containers');
  const run = ['run', MANIFEST, '--log-dir', join(folder, 'logs')];
  echo(run);
  const answer = await time('run the pod', () => command(folder, [...run, '--json']));
  const pod = JSON.parse(answer) as StartedPod;
  // The command takes a moment before it counts: its steps stand at the end of its time.
  const whole = steps.at(-1) ?? { startMs: 0, durationMs: 0 };
  const counted = Math.max(...pod.steps.map(({ startMs, durationMs }) => startMs + durationMs));
  const offset = whole.startMs + Math.max(0, whole.durationMs - counted);
  for (const { name, startMs, durationMs } of pod.steps) {
    steps.push({ name: `  ${name}`, startMs: offset + startMs, durationMs });
  }
  say(`pod ${pod.id.slice(0, 13)} has the address ${pod.ips.join(', ')}`);
  traces.cgroup = cgroupOf(folder);

  const url = `http://${pod.ips[0] ?? ''}/`;
  const page = await time('fetch from outside', () =>
    until('the server does not answer', () => tryFetch(agent, url)),
  );
  say(`its page, fetched from the agent's network at ${url}: ${page}`);
  await until('the other container has not fetched the page', () =>
    command(folder, ['logs', 'web/client']).includes('Hello'),
  );
  for (const args of [['pods'], ['ps'], ['logs', 'web/server'], ['logs', 'web/client']]) {
    await time(args.join(' '), () => {
      show(folder, args);
    });
  }
  const exec = ['exec', 'web/server', '--', 'sh', '-c', 'hostname; ip -o -4 addr show eth0; ps'];
  await time('exec', () => {
    show(folder, exec);
  });
  await time('stats', () => {
    show(folder, ['stats']);
  });
}

async function endPod(folder: string): Promise<void> {
  title('Stopped and removed');
  await time('stop the pod', () => {
    show(folder, ['stop', 'web']);
  });
  show(folder, ['ps', '-a']);
  await time('remove the pod', () => {
    show(folder, ['rm', 'web']);
  });
  show(folder, ['pods']);
}

/** What holds the agent's cgroups, as a container of the pod tells it. */
function cgroupOf(folder: string): string {
  const { info } = JSON.parse(command(folder, ['inspect', 'web/server'])) as {
    info: Record<string, { cgroup?: string }>;
  };
  const [path] = Object.values(info).flatMap(({ cgroup }) =>
    cgroup === undefined ? [] : [cgroup],
  );
  return path?.split('/')[1] ?? '';
}

async function stopAgent(folder: string, pid: number, isHard: boolean): Promise<void> {
  if (isHard) {
    for (const id of (tryCommand(folder, ['pods', '-q']) ?? '').split('\n').filter(Boolean)) {
      tryCommand(folder, ['rm', '-f', id]);
    }
  }
  if (!isAgent(pid, folder)) return;
  process.kill(pid, 'SIGTERM');
  await until('the agent does not end', () => !isAgent(pid, folder));
}

/** A process id may have gone to someone else meanwhile. */
function isAgent(pid: number, folder: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(join(folder, 'config.toml'));
  } catch {
    return false;
  }
}

/** Prints what was looked for; ends what is left and removes the folder. */
function verify(traces: Traces): boolean {
  title('What is left');
  let isClean = true;
  for (const [kind, found] of Object.entries(leftovers(traces))) {
    console.log(`  ${found.length === 0 ? 'none ' : 'LEFT '} ${kind}`);
    for (const what of found) console.log(`          ${what}`);
    isClean &&= found.length === 0;
  }
  if (!isClean) endByForce(traces);
  rmSync(traces.folder, { recursive: true, force: true });
  console.log(`  ${existsSync(traces.folder) ? 'LEFT ' : 'none '} folder ${traces.folder}`);
  return isClean && !existsSync(traces.folder);
}

function keep(traces: Traces, agent: number): void {
  const { folder } = traces;
  writeFileSync(join(folder, 'demo.json'), JSON.stringify({ ...traces, agent }));
  showTimeline();
  title('The agent and the pod run on');
  console.log(`  pvecri    node dist/pvecri.js --config ${folder}/config.toml ps
  crictl    crictl --runtime-endpoint unix://${folder}/pvecri.sock pods
  kubelet   kubelet --container-runtime-endpoint=unix://${folder}/pvecri.sock --cgroup-driver=cgroupfs …
            in the agent's network, where the pods are: nsenter --net=/proc/${agent}/ns/net kubelet …
  log       ${folder}/agent.log
  end it    ./scripts/demo --end ${folder}`);
}

async function endKept(folder: string): Promise<void> {
  const file = join(folder, 'demo.json');
  if (!existsSync(file)) {
    console.error(
      `demo: ${folder} is no folder of a demo that was kept: there is no demo.json in it`,
    );
    process.exitCode = 1;
    return;
  }
  const traces = JSON.parse(readFileSync(file, 'utf8')) as Traces & { agent: number };
  await stopAgent(folder, traces.agent, true);
  process.exitCode = verify(traces) ? 0 : 1;
}

function showAgentLog(folder: string): void {
  const log = join(folder, 'agent.log');
  if (!existsSync(log)) return;
  console.error(`\nthe last lines of the agent's log:`);
  console.error(readFileSync(log, 'utf8').split('\n').slice(-25).join('\n'));
}

/** Prints a call of the command and what it says. */
function show(folder: string, args: string[]): void {
  echo(args);
  const text = command(folder, args).trimEnd();
  if (text !== '') console.log(indent(text));
}

function command(folder: string, args: string[]): string {
  if (interruption !== undefined) throw new Error('interrupted');
  return execFileSync(
    process.execPath,
    [COMMAND, '--config', join(folder, 'config.toml'), ...args],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  );
}

/** Undefined when it fails. */
function tryCommand(folder: string, args: string[]): string | undefined {
  try {
    return execFileSync(
      process.execPath,
      [COMMAND, '--config', join(folder, 'config.toml'), ...args],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
  } catch {
    return undefined;
  }
}

function tryFetch(agent: number, url: string): string | undefined {
  const script = 'fetch(process.argv[1]).then((answer) => answer.text()).then(console.log)';
  const args = [`--net=/proc/${agent}/ns/net`, process.execPath, '-e', script, url];
  try {
    const text = execFileSync('nsenter', args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return text.trim();
  } catch {
    return undefined;
  }
}

async function until<T>(failure: string, attempt: () => T | undefined | false): Promise<T> {
  // Generous: under emulation, or on a busy node, a Node.js alone takes ten seconds to start.
  const deadline = Date.now() + 180_000;
  for (;;) {
    const result = attempt();
    if (result !== undefined && result !== false) return result;
    if (interruption !== undefined && !isEnding) throw new Error('interrupted');
    if (Date.now() > deadline) throw new Error(failure);
    await sleep(50);
  }
}

async function time<T>(name: string, work: () => T | Promise<T>): Promise<T> {
  // Programs are waited for without a turn of the event loop, and signals are told in one.
  await sleep(1);
  if (interruption !== undefined && !isEnding) throw new Error('interrupted');
  const start = performance.now();
  const result = await work();
  steps.push({ name, startMs: start - origin, durationMs: performance.now() - start });
  return result;
}

function showTimeline(): void {
  title('How long it took');
  const before = performance.now();
  execFileSync(process.execPath, [COMMAND, '--version']);
  const startUp = (performance.now() - before).toFixed(0);
  say(`in each call of pvecri, Node.js takes some ${startUp} ms to start; the agent does so once`);
  const end = Math.max(...steps.map(({ startMs, durationMs }) => startMs + durationMs));
  const nameWidth = Math.max(...steps.map(({ name }) => name.length));
  for (const { name, startMs, durationMs } of steps) {
    const from = Math.min(BAR_WIDTH - 1, Math.floor((startMs / end) * BAR_WIDTH));
    const length = Math.max(
      1,
      Math.min(BAR_WIDTH - from, Math.round((durationMs / end) * BAR_WIDTH)),
    );
    const bar = ' '.repeat(from) + '█'.repeat(length);
    console.log(`  ${name.padEnd(nameWidth)}  ${durationMs.toFixed(0).padStart(6)} ms  ${bar}`);
  }
}

function title(text: string): void {
  console.log(isColoured ? `\n\u001b[1m${text}\u001b[0m` : `\n${text}`);
}

function echo(args: string[]): void {
  const line = ['pvecri', ...args.map((arg) => (/\s/.test(arg) ? `'${arg}'` : arg))].join(' ');
  console.log(isColoured ? `  \u001b[36m$ ${line}\u001b[0m` : `  $ ${line}`);
}

function say(text: string): void {
  console.log(indent(text));
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n');
}
