/** Sends one blob to a registry, unless it is there, from where it broke off when the network fails. */
import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { discard, headerOf, redirectTarget, type Response } from './http-client.js';
import type { RegistryRequest, RegistryServer } from './client.js';
import { answeredError } from './errors.js';
import { MOST_RETRIES, pauseBeforeRetry, TransientError } from '../source/retry.js';

export interface BlobUpload {
  server: RegistryServer;
  digest: string;
  size: number;
  file: FileHandle;
  /** Repositories of the same registry that may have it. */
  mountFrom: readonly string[];
  signal: AbortSignal;
  onBytes: (sentBytes: number) => void;
}

/** An upload that the registry has begun. */
interface Session {
  url: URL;
  offset: number;
}

const CHUNK = 256 * 1024;
/** Up to here one request does it. */
const MOST_AT_ONCE = 1 << 20;
/** How long a registry may take nothing. */
const SILENCE_MS = 60_000;
/** It reads the whole blob again before it says yes. */
const COMMIT_MS = 600_000;

export async function uploadBlob(upload: BlobUpload): Promise<'done' | 'present' | 'mounted'> {
  let session: Session | undefined;
  let failures = 0;
  for (;;) {
    const before = session?.offset ?? 0;
    try {
      // Also after a failure: the answer to the last request may have been lost, not the request.
      if (await isPresent(upload)) return session === undefined ? 'present' : 'done';
      session = session && (await resume(upload, session));
      if (session === undefined) {
        const begun = await begin(upload);
        if (begun === 'mounted') return 'mounted';
        session = begun;
      }
      await send(upload, session);
      return 'done';
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      // What moves on may go on; only standing still has an end.
      failures = (session?.offset ?? 0) > before ? 1 : failures + 1;
      if (failures > MOST_RETRIES) throw error;
      await pauseBeforeRetry(failures - 1, error, upload.signal);
    }
  }
}

async function isPresent(upload: BlobUpload): Promise<boolean> {
  const { server, digest } = upload;
  const response = await ask(upload, server.url(`blobs/${digest}`), { method: 'HEAD' });
  if (response.statusCode !== 200 && response.statusCode !== 404)
    throw await refusal(upload, response);
  await discard(response);
  return response.statusCode === 200;
}

/** A registry that cannot mount begins an upload instead. */
async function begin(upload: BlobUpload): Promise<Session | 'mounted'> {
  const { server, digest, mountFrom } = upload;
  let begun: Session | undefined;
  for (const from of mountFrom) {
    const url = server.url('blobs/uploads/');
    url.searchParams.set('mount', digest);
    url.searchParams.set('from', from);
    const response = await ask(upload, url, { method: 'POST', body: '' });
    await discard(response);
    if (response.statusCode === 201) return 'mounted';
    // What is refused for a repository that may not be read is no failure of the push.
    if (response.statusCode === 202) begun = { url: nextUrl(url, response), offset: 0 };
  }
  if (begun) return begun;
  const url = server.url('blobs/uploads/');
  const response = await ask(upload, url, { method: 'POST', body: '' });
  if (response.statusCode !== 202) throw await refusal(upload, response);
  await discard(response);
  return { url: nextUrl(url, response), offset: 0 };
}

/** How far it came; undefined for an upload that cannot go on. */
async function resume(upload: BlobUpload, session: Session): Promise<Session | undefined> {
  const response = await ask(upload, session.url, {});
  await discard(response);
  const offset = endOf(response);
  if (response.statusCode !== 204 || offset === undefined || offset > upload.size) return undefined;
  upload.onBytes(offset);
  return { url: nextUrl(session.url, response), offset };
}

async function send(upload: BlobUpload, session: Session): Promise<void> {
  const { size, digest } = upload;
  if (size > MOST_AT_ONCE || session.offset > 0) await sendRest(upload, session);
  const from = session.offset;
  const url = new URL(session.url);
  url.searchParams.append('digest', digest);
  const response = await ask(upload, url, {
    method: 'PUT',
    answerMs: COMMIT_MS,
    ...bodyOf(upload, from),
  });
  if (response.statusCode !== 201) throw await refusalWithin(upload, response);
  await discard(response);
}

/** One request for all that is missing; some registries take less and say how much. */
async function sendRest(upload: BlobUpload, session: Session): Promise<void> {
  while (session.offset < upload.size) {
    const from = session.offset;
    const { headers, ...body } = bodyOf(upload, from);
    const response = await ask(upload, session.url, {
      method: 'PATCH',
      answerMs: COMMIT_MS,
      ...body,
      headers: { ...headers, 'content-range': `${from}-${upload.size - 1}` },
    });
    if (response.statusCode !== 202) throw await refusalWithin(upload, response);
    await discard(response);
    session.url = nextUrl(session.url, response);
    session.offset = endOf(response) ?? upload.size;
    if (session.offset > from && session.offset <= upload.size) continue;
    throw new TransientError(`${upload.server.name} took nothing of blob ${upload.digest}`);
  }
}

function bodyOf(
  upload: BlobUpload,
  from: number,
): Required<Pick<RegistryRequest, 'headers' | 'body' | 'signal'>> {
  const length = upload.size - from;
  const headers = {
    'content-type': 'application/octet-stream',
    'content-length': String(length),
  };
  if (length === 0) return { headers, body: '', signal: upload.signal };
  const stalled = new AbortController();
  return {
    headers,
    body: () => Readable.from(chunksOf(upload, from, stalled), { objectMode: false }),
    signal: AbortSignal.any([upload.signal, stalled.signal]),
  };
}

/** Ends the request when nobody takes the next chunk for too long. */
async function* chunksOf(
  { file, size, server, digest, onBytes }: BlobUpload,
  from: number,
  stalled: AbortController,
): AsyncGenerator<Buffer> {
  const timer = setTimeout(() => {
    const seconds = SILENCE_MS / 1000;
    stalled.abort(
      new TransientError(`${server.name} took nothing of blob ${digest} for ${seconds} s`),
    );
  }, SILENCE_MS);
  try {
    for (let at = from; at < size;) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK, size - at));
      const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) throw new Error(`blob ${digest} ends at byte ${at}`);
      at += bytesRead;
      yield chunk.subarray(0, bytesRead);
      timer.refresh();
      onBytes(at);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function ask(
  upload: BlobUpload,
  url: URL,
  request: Omit<RegistryRequest, 'signal'> & { signal?: AbortSignal },
): Promise<Response> {
  return upload.server.send(url, { signal: upload.signal, ...request });
}

/** An upload that the registry knows no more, or of which it has another part, begins anew. */
function refusalWithin(upload: BlobUpload, response: Response): Promise<Error> | Error {
  if (![404, 416].includes(response.statusCode)) return refusal(upload, response);
  response.body.on('error', () => undefined).destroy();
  const { server, digest } = upload;
  return new TransientError(`${server.name} gave up the upload of blob ${digest}`);
}

async function refusal({ server, digest }: BlobUpload, response: Response): Promise<Error> {
  return answeredError(response, server.name, `the upload of blob ${digest}`);
}

function nextUrl(from: URL, response: Response): URL {
  return redirectTarget(from, response.headers['location']);
}

/** `0-99`, of which the end is one before the next byte; with nothing sent it is `0-0`, in vain or not. */
function endOf(response: Response): number | undefined {
  const end = /^(?:bytes=)?0-(\d+)$/.exec(headerOf(response, 'range'))?.[1];
  if (end === undefined) return undefined;
  return end === '0' ? 0 : Number(end) + 1;
}
