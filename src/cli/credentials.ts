/** Credentials for a registry: those of the command line, else those of docker's auth.json files. */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import type { RegistryAuth } from '../core/ports/images.js';
import { hasCode } from '../core/errors.js';
import { imageName, parseImageReference } from '../core/image-reference.js';
import { CommandFailure, usage } from './failure.js';
import { askSecret } from './secret.js';
import type { Session } from './session.js';

export interface CredentialOptions {
  /** `USER[:PASS]` */
  creds?: string;
  authfile?: string;
}

const NONE: RegistryAuth = {
  username: '',
  password: '',
  auth: '',
  serverAddress: '',
  identityToken: '',
  registryToken: '',
};

const text = z.string().default('');
const authFile = z.object({
  auths: z
    .record(
      z.string(),
      z.object({
        auth: text,
        username: text,
        password: text,
        identitytoken: text,
        registrytoken: text,
      }),
    )
    .default({}),
  credsStore: text,
  credHelpers: z.record(z.string(), z.string()).default({}),
});

/** undefined for none. `reference` may also name a file, which needs none. */
export async function credentialsFor(
  session: Session,
  reference: string,
  { creds, authfile }: CredentialOptions,
): Promise<RegistryAuth | undefined> {
  if (creds !== undefined && authfile !== undefined)
    throw usage('--creds and --authfile exclude each other');
  if (creds !== undefined) return fromOption(session, creds);
  const name = registryName(reference);
  if (name === undefined) return undefined;
  const named = authfile ?? (process.env['REGISTRY_AUTH_FILE'] || undefined);
  const path = named ?? join(homedir(), '.docker/config.json');
  const content = await readAuthFile(path, named !== undefined);
  return content === undefined ? undefined : lookUp(content, name, path);
}

async function fromOption(session: Session, creds: string): Promise<RegistryAuth> {
  const colon = creds.indexOf(':');
  const username = colon < 0 ? creds : creds.slice(0, colon);
  if (username === '') throw usage('--creds needs a user name: USER or USER:PASSWORD');
  const password =
    colon < 0 ? await askSecret(session, `Password of ${username}: `) : creds.slice(colon + 1);
  return { ...NONE, username, password };
}

/** undefined for what is no name of a registry: the agent says what is wrong with it. */
function registryName(reference: string): string | undefined {
  if (/^(\/|[a-z-]+:\/)/.test(reference)) return undefined;
  try {
    return imageName(parseImageReference(reference));
  } catch {
    return undefined;
  }
}

async function readAuthFile(
  path: string,
  isNamed: boolean,
): Promise<z.infer<typeof authFile> | undefined> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (!isNamed && hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    // The words of JSON.parse quote the text, and that is secret.
    const why = error instanceof SyntaxError ? 'it is no JSON' : String(error);
    throw usage(`cannot read the credentials in ${path}: ${why}`);
  }
  const parsed = authFile.safeParse(json);
  if (parsed.success) return parsed.data;
  throw usage(`the credentials in ${path} are not in docker's format: ${where(parsed.error)}`);
}

function where(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}

/**
 * The entry that names most of `registry/repository` (containers-auth.json(5)), also in docker's own
 * form, `https://index.docker.io/v1/`, which names a host alone.
 */
function lookUp(
  { auths, credsStore, credHelpers }: z.infer<typeof authFile>,
  name: string,
  path: string,
): RegistryAuth | undefined {
  const entries = new Map(Object.entries(auths).map(([key, entry]) => [plainKey(key), entry]));
  for (let key = name; key !== ''; key = key.slice(0, Math.max(0, key.lastIndexOf('/')))) {
    const entry = entries.get(key);
    if (entry === undefined) continue;
    const { auth, username, password, identitytoken, registrytoken } = entry;
    const found = {
      ...NONE,
      auth,
      username,
      password,
      identityToken: identitytoken,
      registryToken: registrytoken,
    };
    if (Object.values(found).some((value) => value !== '')) return found;
  }
  const host = name.slice(0, name.indexOf('/'));
  const helper = credHelpers[host] ?? (entries.has(host) ? credsStore : '');
  if (helper === '') return undefined;
  throw new CommandFailure(
    'unimplemented',
    `${path} leaves the credentials of ${host} to docker-credential-${helper}, which pvecri does not run: use --creds`,
  );
}

function plainKey(key: string): string {
  const [, scheme, rest = ''] = /^(https?:\/\/)?(.*)$/.exec(key) ?? [];
  const plain = scheme === undefined ? rest.replace(/\/+$/, '') : rest.replace(/\/.*$/, '');
  return plain.replace(/^index\.docker\.io(\/v1)?$/, 'docker.io');
}
