/** What a registry wants to see before it answers: a bearer token of its token server, or a password. */
import { RuntimeError } from '../../core/errors.js';
import { asObject, asString, optional, property } from '../../core/json-shape.js';
import type { RegistryAuth } from '../../core/ports/images.js';
import { parseStrictJson } from '../../core/strict-json.js';
import { parseUrl } from '../../util/parse-url.js';
import { parseChallenges, type Challenge } from './auth-challenge.js';
import { readBody, type HttpClient } from './http-client.js';
import { answeredError } from './errors.js';
import type { TokenCache, TokenKey } from './token-cache.js';

export interface Credentials {
  /** Both '' for nobody. */
  username: string;
  password: string;
  identityToken: string;
  registryToken: string;
}

const MAX_TOKEN_BYTES = 1 << 20;
/** What distribution's token specification has for a token that says nothing of it. */
const DEFAULT_LIFE_S = 60;
/** A password that was right does not expire, but may be changed. */
const PASSWORD_LIFE_S = 3600;
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

export interface Authorization {
  client: HttpClient;
  base: string;
  credentials: Credentials;
  /** `repository:NAME:ACTIONS` each. */
  scopes: readonly string[];
  tokens: TokenCache;
}

/** Authorization for one server and some repositories during one pull or push. */
export class RegistryAuthorizer {
  readonly #client: HttpClient;
  readonly #base: URL;
  readonly #credentials: Credentials;
  readonly #scopes: readonly string[];
  readonly #tokens: TokenCache;
  readonly #key: TokenKey;
  /** The answer to a challenge that is under way: requests that meet the same one share it. */
  #answering: Promise<void> | undefined;

  constructor({ client, base, credentials, scopes, tokens }: Authorization) {
    this.#client = client;
    this.#base = new URL(base);
    this.#credentials = credentials;
    this.#scopes = scopes;
    this.#tokens = tokens;
    this.#key = { server: base, scope: scopes.join(' '), credentials };
  }

  /** What to send along, {} as long as nobody has asked. */
  headers(): Record<string, string> {
    const { registryToken } = this.#credentials;
    const given = registryToken === '' ? undefined : `Bearer ${registryToken}`;
    const authorization = this.#tokens.get(this.#key) ?? given;
    return authorization === undefined ? {} : { authorization };
  }

  /** Answers a 401 of the server itself to a request with `sent`; throws when there is no answer. */
  async answer(
    challenge: string,
    sent: Record<string, string>,
    signal: AbortSignal,
  ): Promise<void> {
    const refused = sent['authorization'];
    const current = this.headers()['authorization'];
    // Another request has met the same refusal before.
    if (current !== undefined && current !== refused) return;
    this.#tokens.drop(this.#key, refused);
    this.#answering ??= this.#answer(parseChallenges(challenge), refused, signal).finally(() => {
      this.#answering = undefined;
    });
    await this.#answering;
  }

  async #answer(
    challenges: readonly Challenge[],
    refused: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    if (refused !== undefined && refused === `Bearer ${this.#credentials.registryToken}`) {
      throw this.#unauthenticated('it does not take the registry token');
    }
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer) {
      const { token, lifeSeconds } = await this.#fetchToken(bearer, signal);
      this.#tokens.set(this.#key, `Bearer ${token}`, lifeSeconds);
      return;
    }
    const isBasic = challenges.some(({ scheme }) => scheme === 'basic');
    if (isBasic && this.#hasPassword() && refused !== this.#basic()) {
      this.#tokens.set(this.#key, this.#basic(), PASSWORD_LIFE_S);
      return;
    }
    throw this.#unauthenticated(
      isBasic || challenges.length === 0
        ? 'credentials are missing or wrong'
        : 'of an unknown scheme',
    );
  }

  async #fetchToken(challenge: Challenge, signal: AbortSignal): Promise<Token> {
    const realm = this.#checkRealm(challenge.parameters.get('realm') ?? '');
    const service = challenge.parameters.get('service') ?? '';
    const asked = challenge.parameters.get('scope') ?? '';
    // What we are going to do, and what the registry says it takes besides.
    const scopes = new Set([...this.#scopes, ...asked.split(' ').filter((scope) => scope !== '')]);
    const query = new URLSearchParams(service === '' ? {} : { service });
    let response;
    if (this.#credentials.identityToken !== '' && this.#mayHaveSecrets(realm)) {
      // OAuth2, as in distribution's token specification.
      query.set('scope', [...scopes].join(' '));
      query.set('grant_type', 'refresh_token');
      query.set('client_id', 'pvecri');
      query.set('refresh_token', this.#credentials.identityToken);
      response = await this.#client.sendToRealm(realm, {
        method: 'POST',
        body: query.toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        ownHeaders: {},
        signal,
      });
    } else {
      for (const scope of scopes) query.append('scope', scope);
      for (const [key, value] of query) realm.searchParams.append(key, value);
      const isKnown = this.#hasPassword() && this.#mayHaveSecrets(realm);
      response = await this.#client.sendToRealm(realm, {
        headers: {},
        ownHeaders: isKnown ? { authorization: this.#basic() } : {},
        signal,
      });
    }
    if (response.statusCode !== 200) {
      throw await answeredError(response, `token server ${realm.host}`, [...scopes].join(' '));
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

interface Token {
  token: string;
  lifeSeconds: number;
}

function readToken(bytes: Uint8Array): Token {
  const what = 'token answer';
  const answer = asObject(parseStrictJson(bytes, what, MAX_TOKEN_BYTES), what);
  const token =
    optional(answer, 'token', what, asString, '') ||
    optional(answer, 'access_token', what, asString, '');
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new RuntimeError('unauthenticated', 'the token server gave no token');
  }
  const life = property(answer, 'expires_in');
  return { token, lifeSeconds: typeof life === 'number' && life > 0 ? life : DEFAULT_LIFE_S };
}
