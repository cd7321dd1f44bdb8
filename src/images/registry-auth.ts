/** What a registry wants to see before it answers: a bearer token of its token server, or a password. */
import { RuntimeError } from '../core/errors.js';
import { asObject, asString, optional } from '../core/json-shape.js';
import type { RegistryAuth } from '../core/ports.js';
import { parseStrictJson } from '../core/strict-json.js';
import { parseUrl } from '../util/parse-url.js';
import { parseChallenges, type Challenge } from './auth-challenge.js';
import { discard, readBody, type HttpClient } from './http-get.js';
import { TransientError } from './retry.js';

interface Credentials {
  /** Both '' for nobody. */
  username: string;
  password: string;
  identityToken: string;
  registryToken: string;
}

const MAX_TOKEN_BYTES = 1 << 20;
const NOBODY: Credentials = { username: '', password: '', identityToken: '', registryToken: '' };

/**
 * The credentials that may go to a server: those for its registry, and where they name a server
 * themselves, those for it. A mirror gets none that don't name it.
 */
export function credentialsFor(
  auth: RegistryAuth | null,
  host: { base: string; isMirror: boolean },
): Credentials {
  if (auth === null) return NOBODY;
  const named = hostOf(auth.serverAddress);
  if (
    named === ''
      ? host.isMirror
      : named !== new URL(host.base).host && !isDockerHub(named, host.base)
  ) {
    return NOBODY;
  }
  let { username, password } = auth;
  if (username === '' && password === '' && auth.auth !== '') {
    const text = Buffer.from(auth.auth, 'base64').toString('utf8');
    const colon = text.indexOf(':');
    if (colon < 0) {
      throw new RuntimeError(
        'invalid-argument',
        'auth of the registry is no base64 of user:password',
      );
    }
    username = text.slice(0, colon);
    password = text.slice(colon + 1).replace(/\0+$/, '');
  }
  return {
    username,
    password,
    identityToken: auth.identityToken,
    registryToken: auth.registryToken,
  };
}

/** Docker Hub's credentials are filed under a name that serves no images. */
function isDockerHub(named: string, base: string): boolean {
  return (
    ['docker.io', 'index.docker.io'].includes(named) &&
    new URL(base).host === 'registry-1.docker.io'
  );
}

function hostOf(serverAddress: string): string {
  if (serverAddress === '') return '';
  return (
    parseUrl(serverAddress.includes('://') ? serverAddress : `https://${serverAddress}`)?.host ??
    '?'
  );
}

/** Authorization for one server during one pull. */
export class RegistryAuthorizer {
  readonly #client: HttpClient;
  readonly #base: URL;
  readonly #credentials: Credentials;
  #header: string | undefined;

  constructor(client: HttpClient, base: string, credentials: Credentials) {
    this.#client = client;
    this.#base = new URL(base);
    this.#credentials = credentials;
    if (credentials.registryToken !== '') this.#header = `Bearer ${credentials.registryToken}`;
  }

  /** What to send along, {} as long as nobody has asked. */
  headers(): Record<string, string> {
    return this.#header === undefined ? {} : { authorization: this.#header };
  }

  /** Answers a 401 of the server itself; throws when there is no answer. */
  async answer(challenge: string, repository: string, signal: AbortSignal): Promise<void> {
    const challenges = parseChallenges(challenge);
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer) {
      this.#header = `Bearer ${await this.#fetchToken(bearer, repository, signal)}`;
      return;
    }
    const isBasic = challenges.some(({ scheme }) => scheme === 'basic');
    if (isBasic && this.#hasPassword() && this.#header === undefined) {
      this.#header = this.#basic();
      return;
    }
    throw this.#unauthenticated(
      isBasic || challenges.length === 0
        ? 'credentials are missing or wrong'
        : 'of an unknown scheme',
    );
  }

  async #fetchToken(
    challenge: Challenge,
    repository: string,
    signal: AbortSignal,
  ): Promise<string> {
    const realm = this.#checkRealm(challenge.parameters.get('realm') ?? '');
    const service = challenge.parameters.get('service') ?? '';
    const scope = challenge.parameters.get('scope') ?? `repository:${repository}:pull`;
    const query = new URLSearchParams({ ...(service === '' ? {} : { service }), scope });
    const refreshes = this.#credentials.identityToken !== '' && this.#mayHaveSecrets(realm);
    let response;
    if (refreshes) {
      // OAuth2, as in distribution's token specification.
      query.set('grant_type', 'refresh_token');
      query.set('client_id', 'pvecri');
      query.set('refresh_token', this.#credentials.identityToken);
      response = await this.#client.sendFollowed(realm, {
        method: 'POST',
        body: query.toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        ownHeaders: {},
        signal,
      });
    } else {
      for (const [key, value] of query) realm.searchParams.append(key, value);
      const isKnown = this.#hasPassword() && this.#mayHaveSecrets(realm);
      response = await this.#client.sendFollowed(realm, {
        headers: {},
        ownHeaders: isKnown ? { authorization: this.#basic() } : {},
        signal,
      });
    }
    if (response.statusCode !== 200) {
      await discard(response);
      if (response.statusCode >= 500 || response.statusCode === 429) {
        throw new TransientError(`token server ${realm.host} answered ${response.statusCode}`);
      }
      throw this.#unauthenticated(`token server ${realm.host} answered ${response.statusCode}`);
    }
    return readToken(await readBody(response, `token of ${realm.host}`, MAX_TOKEN_BYTES));
  }

  /** The realm is the registry's word alone: it chooses whom we speak to next. */
  #checkRealm(text: string): URL {
    const realm = parseUrl(text);
    const isSound =
      realm !== undefined &&
      /^https?:$/.test(realm.protocol) &&
      realm.username === '' &&
      realm.password === '' &&
      !(this.#base.protocol === 'https:' && realm.protocol === 'http:');
    if (isSound) return realm;
    throw this.#unauthenticated(
      `its token server ${JSON.stringify(text.slice(0, 200))} is not one to ask`,
    );
  }

  /** In clear text, secrets go to the host that the image is fetched from and no other. */
  #mayHaveSecrets(realm: URL): boolean {
    return realm.protocol === 'https:' || realm.hostname === this.#base.hostname;
  }

  #hasPassword(): boolean {
    return this.#credentials.username !== '' || this.#credentials.password !== '';
  }

  #basic(): string {
    const { username, password } = this.#credentials;
    return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  }

  #unauthenticated(why: string): RuntimeError {
    return new RuntimeError(
      'unauthenticated',
      `${this.#base.host} asks for authentication: ${why}`,
    );
  }
}

function readToken(bytes: Uint8Array): string {
  const what = 'token answer';
  const answer = asObject(parseStrictJson(bytes, what, MAX_TOKEN_BYTES), what);
  const token =
    optional(answer, 'token', what, asString, '') ||
    optional(answer, 'access_token', what, asString, '');
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new RuntimeError('unauthenticated', 'the token server gave no token');
}
