/** A request of the streaming server that is answered by an HTTP error instead of a stream. */
import { STATUS_CODES, type OutgoingHttpHeaders } from 'node:http';

export class StreamRefused extends Error {
  readonly statusCode: number;
  readonly headers: OutgoingHttpHeaders;

  constructor(statusCode: number, message: string, headers: OutgoingHttpHeaders = {}) {
    super(message);
    this.name = 'StreamRefused';
    this.statusCode = statusCode;
    this.headers = headers;
  }
}

/** The whole answer, for a socket that HTTP has let go of. */
export function refusalResponse({ statusCode, headers, message }: StreamRefused): string {
  const body = `${message}\n`;
  const all: OutgoingHttpHeaders = {
    ...headers,
    connection: 'close',
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(body),
  };
  const lines = Object.entries(all).flatMap(([name, value]) =>
    [value ?? []].flat().map((each) => `${name}: ${each}\r\n`),
  );
  return `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode] ?? ''}\r\n${lines.join('')}\r\n${body}`;
}
