/** A connection to an address of a loopback in another network namespace, made by the addon. */
import { Socket } from 'node:net';
import { loadAddon } from '../../src/native/binding.js';

/** To where a URL of the agent's streaming server points. */
export async function connectInside(netns: string, url: string): Promise<Socket> {
  const fd = await loadAddon().connectLoopback(netns, Number(new URL(url).port), 5000);
  return new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
}
