/** A unix socket whose connections go on to a TCP port inside a network namespace. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const RELAY = `
const net = require('node:net');
const [path, host, port] = process.argv.slice(1);
net.createServer({ allowHalfOpen: true }, (near) => {
  const far = net.connect({ host, port: Number(port), allowHalfOpen: true });
  for (const [one, other] of [[near, far], [far, near]]) {
    one.pipe(other);
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroySoon());
  }
}).listen(path, () => console.log('ready'));`;

export interface NetworkRelay {
  connect(): Socket;
  stop(): Promise<void>;
}

export async function relayInto(netns: string, url: string, path: string): Promise<NetworkRelay> {
  const { hostname, port } = new URL(url);
  const child = spawn(
    'nsenter',
    [`--net=${netns}`, process.execPath, '-e', RELAY, path, hostname, port],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await once(child.stdout, 'data');
  return {
    connect: () => connect({ path, allowHalfOpen: true }),
    stop: async () => {
      child.kill();
      await once(child, 'exit');
    },
  };
}
