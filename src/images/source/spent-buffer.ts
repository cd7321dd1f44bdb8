/** Gives the memory of received bytes back at once, instead of at the next garbage collection. */
import { MessageChannel } from 'node:worker_threads';

const { port1: sink, port2 } = new MessageChannel();
// Closed, it takes what is transferred to it and keeps nothing.
sink.close();
port2.close();

/**
 * Every read from a socket is a new buffer of 64 KiB, and V8 collects none before there are 32 MB of them.
 * `chunk` and all views of its memory are empty afterwards. One that has its memory with others is left
 * alone: Node's buffer pool, what came in one read with the headers.
 */
export function discardBuffer(chunk: Uint8Array): void {
  const { buffer } = chunk;
  if (chunk.byteLength !== buffer.byteLength || !(buffer instanceof ArrayBuffer)) return;
  sink.postMessage(null, [buffer]);
}
