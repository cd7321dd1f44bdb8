/** A token server as docker-registry's token authentication wants it: JWTs signed by RS256. */
import { createPrivateKey, createSign, randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { HttpServer } from './http-server.js';

export interface TokenServerOptions {
  certificate: string;
  key: string;
  username: string;
  password: string;
  identityToken: string;
}

export const SERVICE = 'test registry';
export const ISSUER = 'test issuer';

export async function startTokenServer(options: TokenServerOptions): Promise<HttpServer> {
  return HttpServer.start((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      answer(options, request, Buffer.concat(chunks).toString(), response);
    });
  });
}

function answer(
  options: TokenServerOptions,
  request: IncomingMessage,
  body: string,
  response: ServerResponse,
): void {
  const isPost = request.method === 'POST';
  const query = isPost
    ? new URLSearchParams(body)
    : new URL(request.url ?? '', 'http://x').searchParams;
  const secret = Buffer.from(`${options.username}:${options.password}`).toString('base64');
  const isKnown = isPost
    ? query.get('refresh_token') === options.identityToken
    : request.headers.authorization === `Basic ${secret}`;
  if (!isKnown || query.get('service') !== SERVICE) {
    response.writeHead(401).end('{"details": "incorrect username or password"}');
    return;
  }
  const token = sign(
    options,
    query.getAll('scope').flatMap((scopes) => scopes.split(' ')),
  );
  const name = isPost ? 'access_token' : 'token';
  response.end(JSON.stringify({ [name]: token, expires_in: 300 }));
}

function sign({ certificate, key, username }: TokenServerOptions, scopes: string[]): string {
  const now = Math.floor(Date.now() / 1000);
  const { raw } = new X509Certificate(readFileSync(certificate));
  const header = { typ: 'JWT', alg: 'RS256', x5c: [raw.toString('base64')] };
  const claims = {
    iss: ISSUER,
    sub: username,
    aud: SERVICE,
    exp: now + 300,
    nbf: now - 10,
    iat: now,
    jti: randomUUID(),
    access: scopes.map((scope) => {
      const [type, name, actions = ''] = scope.split(':');
      return { type, name, actions: actions.split(',') };
    }),
  };
  const encode = (value: object): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${encode(header)}.${encode(claims)}`;
  const signature = createSign('RSA-SHA256')
    .update(text)
    .sign(createPrivateKey(readFileSync(key)));
  return `${text}.${signature.toString('base64url')}`;
}
