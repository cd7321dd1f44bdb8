/**
 * Loaded into an agent by `node --import`: kills it at a numbered point of what it does to the world.
 *
 * A point is passed after every change that Node.js or the addon makes for the agent (a file, a
 * folder, an fsync, a cgroup, a mount), before and after every spawn, and around every request to a
 * shim: all that a kill -9 can come between. The agent itself knows nothing of this.
 *
 * Counting starts at SIGUSR2, with the number that `<folder>/arm` holds; 0 lists the points passed in
 * `<folder>/passed` and kills nobody.
 */
import fs from 'node:fs';
import promises from 'node:fs/promises';
import Module, { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import { basename, join } from 'node:path';

type AnyFunction = (this: unknown, ...args: unknown[]) => unknown;
type Functions = Record<string, AnyFunction>;
type Loader = (module: { exports: object }, path: string) => void;

const folder = process.env['PVECRI_FAILPOINT_FOLDER'] ?? '';
const { appendFileSync, readFileSync, unlinkSync, writeFileSync } = fs;
let wanted: number | undefined;
let passed = 0;

process.on('SIGUSR2', () => {
  wanted = Number(readFileSync(join(folder, 'arm'), 'utf8'));
  passed = 0;
  unlinkSync(join(folder, 'arm'));
});

function point(name: string): void {
  if (wanted === undefined) return;
  passed += 1;
  if (wanted === 0) appendFileSync(join(folder, 'passed'), `${name}\n`);
  if (passed !== wanted) return;
  writeFileSync(join(folder, 'hit'), name);
  process.kill(process.pid, 'SIGKILL');
}

/** Passes a point after each call that counts, when its promise has been kept where it returns one. */
function after(
  object: object,
  names: readonly string[],
  counts: (args: unknown[], result: unknown) => boolean = () => true,
): void {
  const functions = object as Functions;
  for (const name of names) {
    const original = functions[name];
    if (original === undefined) throw new Error(`there is no ${name} to pass a point`);
    functions[name] = function (...args) {
      const done = (result: unknown): unknown => {
        const [path] = args;
        const what = typeof path === 'string' && path.startsWith('/') ? ` ${basename(path)}` : '';
        if (counts(args, result)) point(`${name}${what}`);
        return result;
      };
      const result = original.apply(this, args);
      return result instanceof Promise ? result.then(done) : done(result);
    };
  }
}

function creates([, flags]: unknown[]): boolean {
  if (typeof flags === 'number') return (flags & fs.constants.O_CREAT) !== 0;
  return typeof flags === 'string' && /[wa]/.test(flags);
}

const FILES = [
  'mkdir',
  'mkdtemp',
  'writeFile',
  'rename',
  'rm',
  'unlink',
  'rmdir',
  'chmod',
  'chown',
];
after(promises, FILES);
after(promises, ['open'], creates);
after(fs, ['mkdirSync', 'rmSync', 'unlinkSync']);
after(fs, ['openSync'], creates);
const handle = await promises.open('/dev/null');
after(Object.getPrototypeOf(handle) as object, ['writeFile', 'sync']);
await handle.close();

const connect = net.createConnection as (...args: unknown[]) => net.Socket;
const connectWithPoints = (...args: unknown[]): net.Socket => {
  const socket = connect(...args);
  after(socket, ['write']);
  socket.once('connect', () => {
    point('connect');
  });
  socket.on('data', () => {
    point('answer');
  });
  return socket;
};
Object.assign(net, { createConnection: connectWithPoints });
syncBuiltinESMExports();

const loaders = (Module as unknown as { _extensions: Record<string, Loader> })._extensions;
const load = loaders['.node'];
loaders['.node'] = (module, path) => {
  load?.(module, path);
  const addon = { ...module.exports } as Functions;
  const { spawn } = addon;
  addon['spawn'] = (...args) => {
    point(`before spawn ${(args[0] as { argv: string[] }).argv[0] ?? ''}`);
    return spawn?.(...args);
  };
  after(addon, ['spawn', 'pinNamespaces', 'bindNamespace', 'mountOverlay', 'lockFile']);
  after(addon, ['pidfdSignal'], ([, signal]) => signal !== 0);
  after(addon, ['unmount'], (_, wasMounted) => wasMounted === true);
  module.exports = addon;
};
