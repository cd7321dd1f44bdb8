/** Whose credentials go to a registry: docker's files and the command line. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { credentialsFor, type CredentialOptions } from '../../../src/cli/credentials.js';
import { Session } from '../../../src/cli/session.js';
import type { Terminal } from '../../../src/cli/terminal.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

function session(typed?: string): { session: Session; shown: () => string; raw: string[] } {
  const stderr = new PassThrough();
  const raw: string[] = [];
  const terminal: Terminal = {
    size: () => ({ rows: 24, columns: 80 }),
    onResize: () => () => undefined,
    makeRaw: () => {
      raw.push('raw');
      return () => raw.push('restored');
    },
  };
  return {
    session: new Session({
      stdin: Readable.from(typed === undefined ? [] : [typed]),
      stdout: new PassThrough(),
      stderr,
      ...(typed !== undefined && { terminal }),
      signal: new AbortController().signal,
    }),
    shown: () => String((stderr.read() as Buffer | null) ?? ''),
    raw,
  };
}

describe('credentials', () => {
  let folder: string;
  let path: string;
  const { HOME, REGISTRY_AUTH_FILE } = process.env;

  beforeEach(() => {
    folder = makeTempFolder();
    path = join(folder, 'auth.json');
    process.env['HOME'] = folder;
    delete process.env['REGISTRY_AUTH_FILE'];
  });

  afterEach(() => {
    process.env['HOME'] = HOME;
    if (REGISTRY_AUTH_FILE !== undefined) process.env['REGISTRY_AUTH_FILE'] = REGISTRY_AUTH_FILE;
    else delete process.env['REGISTRY_AUTH_FILE'];
    removeTempFolder(folder);
  });

  const found = async (
    reference: string,
    options: CredentialOptions = { authfile: path },
  ): Promise<string | undefined> => {
    const auth = await credentialsFor(session().session, reference, options);
    return auth && (auth.auth || auth.identityToken || `${auth.username}:${auth.password}`);
  };

  it('of the entry that names most of the repository', async () => {
    writeFileSync(
      path,
      JSON.stringify({
        auths: {
          'https://index.docker.io/v1/': { auth: 'hub' },
          'registry.example:5000': { auth: 'host' },
          'registry.example:5000/team/': { username: 'u', password: 'p' },
          'https://other.example/v2/': { identitytoken: 'token' },
        },
      }),
    );
    assert.equal(await found('busybox'), 'hub');
    assert.equal(await found('docker.io/team/app:1'), 'hub');
    assert.equal(await found('registry.example:5000/else/app'), 'host');
    assert.equal(await found('registry.example:5000/team/app:2'), 'u:p');
    assert.equal(await found('registry.example:5000/teams/app:2'), 'host');
    assert.equal(await found('other.example/a/b'), 'token');
    assert.equal(await found('registry.example/team/app'), undefined);
    assert.equal(await found('oci:/some/folder:name'), undefined);
    assert.equal(await found('/some/file.tar'), undefined);
  });

  it('of the file that the environment names', async () => {
    writeFileSync(path, JSON.stringify({ auths: { 'a.example': { auth: 'x' } } }));
    process.env['REGISTRY_AUTH_FILE'] = path;
    assert.equal(await found('a.example/app', {}), 'x');
  });

  it('are none where the home folder has no file, but a file that was named must be there', async () => {
    assert.equal(await found('a.example/app', {}), undefined);
    await assert.rejects(found('a.example/app', { authfile: join(folder, 'none') }), {
      kind: 'usage',
      message: /^cannot read the credentials in .*none: .*ENOENT/,
    });
  });

  for (const [what, content, message] of [
    ['no JSON', '{"auths": {"a.example": {"auth": "c2VjcmV0"', /: it is no JSON$/],
    [
      'another format',
      '{"auths": {"a.example": "x"}}',
      /not in docker's format: auths\.a\.example/,
    ],
  ] as const) {
    it(`a file that is ${what} is refused, and its secrets are not told`, async () => {
      writeFileSync(path, content);
      await assert.rejects(found('a.example/app'), (error: Error) => {
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /c2VjcmV0/);
        return true;
      });
    });
  }

  it('that a helper keeps are refused by its name, and no others', async () => {
    writeFileSync(
      path,
      JSON.stringify({
        auths: { 'stored.example': {} },
        credsStore: 'pass',
        credHelpers: { 'cloud.example': 'ecr-login' },
      }),
    );
    await assert.rejects(found('cloud.example/app'), {
      kind: 'unimplemented',
      message: /docker-credential-ecr-login/,
    });
    await assert.rejects(found('stored.example/app'), { message: /docker-credential-pass/ });
    assert.equal(await found('public.example/app'), undefined);
  });

  it('of the command line stand above every file', async () => {
    writeFileSync(path, JSON.stringify({ auths: { 'a.example': { auth: 'x' } } }));
    process.env['REGISTRY_AUTH_FILE'] = path;
    assert.equal(await found('a.example/app', { creds: 'user:pass:word' }), 'user:pass:word');
    await assert.rejects(found('a.example/app', { creds: ':x' }), { kind: 'usage' });
    await assert.rejects(found('a.example/app', { creds: 'a:b', authfile: path }), {
      kind: 'usage',
    });
  });

  it('are asked for on a terminal, and not shown there', async () => {
    const { session: asking, shown, raw } = session('pasx\u007fswörd\r');
    const auth = await credentialsFor(asking, 'a.example/app', { creds: 'user' });
    assert.deepEqual([auth?.username, auth?.password], ['user', 'passwörd']);
    assert.equal(shown(), 'Password of user: \n');
    assert.deepEqual(raw, ['raw', 'restored']);
  });

  it('are not asked for elsewhere, and Ctrl-C ends the question', async () => {
    await assert.rejects(found('a.example/app', { creds: 'user' }), {
      kind: 'usage',
      message: /on a terminal alone/,
    });
    const { session: asking, raw } = session('half\u0003');
    await assert.rejects(credentialsFor(asking, 'a.example/app', { creds: 'user' }), {
      kind: 'interrupted',
    });
    assert.deepEqual(raw, ['raw', 'restored']);
  });
});
