/** Images signed in the format of cosign 3, in a real registry, with its own signature and ones made here. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createReadStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { sign } from 'node:crypto';
import { RuntimeError } from '../../../src/core/errors.js';
import type { VerifiedImage } from '../../../src/core/ports/images.js';
import { createRegistryOpener } from '../../../src/images/registry/source.js';
import { ImagePolicy } from '../../../src/images/signature/image-policy.js';
import { PolicyVerifier } from '../../../src/images/signature/image-verifier.js';
import {
  ecKeys,
  payloadOf,
  pushSignatures,
  rsaKeys,
  signPayload,
  type KeyPair,
} from '../../support/cosign.js';
import {
  push,
  pushBlob,
  pushManifest,
  startDockerRegistry,
  type DockerRegistry,
} from '../../support/docker-registry.js';
import { HttpServer } from '../../support/http-server.js';
import { openImages } from '../../support/images.js';
import { buildImage, makeBlob, writeLayout } from '../../support/oci-image.js';
import {
  BUNDLE_TYPE,
  pushReferrers,
  referrerOf,
  referrersImage,
  referrersIndex,
  signBundle,
  statementOf,
  type Referrer,
} from '../../support/sigstore.js';
import { file } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('sigstore bundles', () => {
  let temp: string;
  let registry: DockerRegistry;
  /** In front of the registry, with a referrers API, which that lacks. */
  let front: HttpServer;
  let answerReferrers: (response: ServerResponse, page: string) => void;
  let verifier: PolicyVerifier;
  const key = ecKeys();
  const opener = createRegistryOpener(() => join(temp, 'hosts'));
  const image = buildImage({ layers: [[file('one', '1')]] });
  const { digest } = image.manifest;
  const good = referrerOf(signBundle(statementOf(digest), key));
  const bad = referrerOf(signBundle(statementOf(digest), ecKeys()));

  before(async () => {
    temp = makeTempFolder();
    registry = await startDockerRegistry(temp);
    front = await HttpServer.start((request, response) => {
      const url = new URL(request.url ?? '', `http://${registry.host}`);
      if (url.pathname.includes('/referrers/')) {
        answerReferrers(response, url.search);
        return;
      }
      void fetch(url, { headers: { accept: request.headers.accept ?? '*/*' } }).then(
        async (got) => {
          const type = got.headers.get('content-type') ?? '';
          response.writeHead(got.status, { 'content-type': type });
          response.end(Buffer.from(await got.arrayBuffer()));
        },
      );
    });
    verifier = new PolicyVerifier({
      images: { find: () => undefined },
      openRegistry: opener,
      readPolicy: () => Promise.resolve(ImagePolicy.ofNone()),
    });
  });
  after(async () => {
    await front.close();
    await registry.stop();
    removeTempFolder(temp);
  });

  let count = 0;
  async function pushImage(): Promise<{ repository: string; name: string }> {
    count += 1;
    const repository = `team/app${count}`;
    await push(registry.host, repository, 'v1', image);
    return { repository, name: `${registry.host}/${repository}:v1` };
  }

  function byKey(name: string, publicPem = key.publicPem): Promise<VerifiedImage> {
    const check = { kind: 'key', name: 'cosign.pub', content: Buffer.from(publicPem) } as const;
    return verifier.verify(name, null, { check, signal: AbortSignal.timeout(50_000) });
  }

  function byPolicy(name: string, signedIdentity?: Record<string, string>): Promise<VerifiedImage> {
    const check = { kind: 'policy', name: 'p', content: policyOf(signedIdentity) } as const;
    return verifier.verify(name, null, { check, signal: AbortSignal.timeout(50_000) });
  }

  function policyOf(signedIdentity?: Record<string, string>): Buffer {
    const keyData = Buffer.from(key.publicPem).toString('base64');
    const requirement = { type: 'sigstoreSigned', keyData, signedIdentity };
    return Buffer.from(JSON.stringify({ default: [requirement] }));
  }

  async function refused(verified: Promise<unknown>, ...parts: string[]): Promise<void> {
    await assert.rejects(verified, (error) => {
      assert(error instanceof RuntimeError, String(error));
      assert.equal(error.kind, 'signature-invalid', error.message);
      for (const part of parts) assert(error.message.includes(part), `${error.message}\n${part}`);
      return true;
    });
  }

  it('accepts what cosign itself has signed and put into a registry', async () => {
    const path = new URL('../../fixtures/cosign-3.json', import.meta.url);
    const texts = JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>;
    const text = (name: string): string => texts[name] ?? '';
    const manifest = makeBlob('application/vnd.oci.image.manifest.v1+json', text('image'));
    const repository = 'team/cosign';
    const config = makeBlob('', text('config'));
    await push(registry.host, repository, 'v1', { id: '', diffIds: [], manifest, blobs: [config] });
    const host = registry.host;
    for (const blob of ['{}', text('bundle')]) await pushBlob(host, repository, makeBlob('', blob));
    const referrer = makeBlob(manifest.mediaType, text('referrer'));
    await pushManifest(host, repository, referrer.digest, referrer);
    const list = makeBlob('application/vnd.oci.image.index.v1+json', text('referrers'));
    await pushManifest(host, repository, manifest.digest.replace(':', '-'), list);

    const name = `${host}/${repository}:v1`;
    const { verifications } = await byKey(name, text('key'));
    const [met] = verifications;
    assert.deepEqual(
      [met?.digest, met?.identity, met?.fingerprint],
      [manifest.digest, '', 'SHA256:xKQEr4cyLaBP8G5qwQeEogHLY+a5u/NFJUCqA3jQiB0'],
    );
    await refused(byKey(name), 'does not count: it was made by no key of cosign.pub');
  });

  it('accepts what every kind of key has signed that cosign signs with', async () => {
    const { repository, name } = await pushImage();
    const withHash = (hash: string) => (payload: Buffer, by: KeyPair['privateKey']) =>
      sign(hash, payload, by);
    const kinds = [
      [ecKeys('P-384'), 'sha384'],
      [ecKeys('P-521'), 'sha512'],
      [rsaKeys(), 'sha256'],
    ] as const;
    for (const [pair, hash] of kinds) {
      const signed = signBundle(statementOf(digest), pair, { signWith: withHash(hash) });
      await pushReferrers(registry.host, repository, digest, [referrerOf(signed)]);
      assert.equal((await byKey(name, pair.publicPem)).verifications.length, 1, hash);
    }
  });

  it('is accepted by a policy that asks for the digest alone, and by none that compares names', async () => {
    const { repository, name } = await pushImage();
    await pushReferrers(registry.host, repository, digest, [good]);
    await byPolicy(name, { type: 'matchDigest' });
    const byDigest = `${registry.host}/${repository}@${digest}`;
    const identities: (Record<string, string> | undefined)[] = [
      undefined,
      { type: 'matchExact' },
      { type: 'matchRepository' },
      { type: 'exactRepository', dockerRepository: `${registry.host}/${repository}` },
      { type: 'exactReference', dockerReference: name },
      { type: 'remapIdentity', prefix: 'a.example', signedPrefix: 'b.example' },
    ];
    for (const identity of identities) {
      const type = identity?.['type'] ?? 'matchRepoDigestOrExact';
      const reason = `it names no image, as all of its format (cosign 3), and ${type} wants a name`;
      await refused(byPolicy(name, identity), reason, 'signedIdentity matchDigest takes it');
      await refused(byPolicy(byDigest, identity), reason);
    }
    await pushSignatures(registry.host, repository, digest, [
      signPayload(payloadOf(digest, `${registry.host}/${repository}`), key),
    ]);
    await byPolicy(name, { type: 'matchRepository' });
    await byPolicy(name, { type: 'matchDigest' });
  });

  it('refuses another key, digest or purpose, and what was tampered with or is not understood', async () => {
    const { repository, name } = await pushImage();
    const other = `sha256:${'0'.repeat(64)}`;
    const statement = statementOf(digest);
    const bundle = (changes: Record<string, unknown>, envelope: Record<string, unknown> = {}) =>
      signBundle(statement, key, { bundle: changes, envelope });
    const tampered = Buffer.from(JSON.stringify({ ...statement, predicate: { a: 1 } }));
    const cases: [string | Referrer, string][] = [
      [bad, 'it was made by no key of cosign.pub'],
      [signBundle(statementOf(other), key), `it is for ${other}`],
      [
        signBundle(statementOf(digest, { predicateType: 'https://spdx.dev/Document' }), key),
        'its statement.predicateType is "https://spdx.dev/Document"',
      ],
      [bundle({}, { payload: tampered.toString('base64') }), 'it was made by no key'],
      [
        bundle({ mediaType: BUNDLE_TYPE.replace('v0.3', 'v0.4') }),
        'is of type "application/vnd.dev.sigstore.bundle.v0.4+json"',
      ],
      [bundle({ mediaType: 'text/plain' }), 'is of type "text/plain"'],
      [
        bundle({ verificationMaterial: { certificate: { rawBytes: 'AA==' } } }),
        'was signed with a certificate, not with a key',
      ],
      [bundle({ messageSignature: {} }), 'holds no dsseEnvelope, or not that alone'],
      [bundle({ dsseEnvelope: undefined }), 'holds no dsseEnvelope'],
      [bundle({}, { payloadType: 'text/plain' }), 'payloadType is "text/plain"'],
      [bundle({}, { signatures: [] }), 'has not one signature'],
      [bundle({}, { signatures: [{ sig: 'AA==' }, { sig: 'AA==' }] }), 'has not one signature'],
      [bundle({}, { signatures: [{ sig: '!!!!' }] }), 'is not base64'],
      ['{', 'is not JSON'],
      [`{"mediaType":"a","mediaType":"b"}`, 'key "mediaType" twice'],
      [signBundle('[]', key), 'its statement is not an object'],
      [
        signBundle(JSON.stringify(statement).replace('"_type"', '"_type":"x","_type"'), key),
        'key "_type" twice',
      ],
      [signBundle(statementOf(digest, { more: 1 }), key), 'unknown key "more"'],
      [signBundle(statementOf(digest, { _type: 'x' }), key), 'its statement._type is "x"'],
      [signBundle(statementOf(digest, { subject: [] }), key), 'has not one subject'],
      [
        signBundle(statementOf(digest, { subject: [{ digest: { sha512: 'aa' } }] }), key),
        'subject[0].digest.sha256 is not a string',
      ],
      [
        referrerOf(bundle({}), {
          annotations: { 'dev.sigstore.bundle.predicateType': 'https://slsa.dev/provenance/v1' },
        }),
        'is an attestation of "https://slsa.dev/provenance/v1"',
      ],
      [signBundle(statementOf(digest, { predicate: 'x'.repeat(200_000) }), key), 'is larger than'],
      [referrerOf('an SBOM', { type: 'text/spdx' }), 'no sigstore bundle of'],
    ];
    for (const [given, reason] of cases) {
      const referrer = typeof given === 'string' ? referrerOf(given) : given;
      await pushReferrers(registry.host, repository, digest, [referrer]);
      await refused(byKey(name), name, digest, reason);
    }
    // Logs and timestamps are neither asked for nor read.
    const logged = bundle({
      verificationMaterial: {
        publicKey: { hint: 'hint' },
        tlogEntries: [{ logIndex: '1', inclusionProof: { checkpoint: { envelope: 'x' } } }],
        timestampVerificationData: { rfc3161Timestamps: [{ signedTimestamp: 'AA==' }] },
      },
    });
    await pushReferrers(registry.host, repository, digest, [referrerOf(logged)]);
    await byKey(name);
    // What counts is what the bundle says of itself.
    const misnamed = referrerOf(bundle({}), { type: BUNDLE_TYPE.replace('v0.3', 'v0.9') });
    await pushReferrers(registry.host, repository, digest, [misnamed]);
    await byKey(name);
  });

  it('finds the good one among others, and asks for none after it', async () => {
    const { repository, name } = await pushImage();
    const others = [
      referrerOf('{}'),
      referrerOf('an SBOM', { type: 'text/spdx' }),
      bad,
      referrerOf(signBundle(statementOf(`sha256:${'1'.repeat(64)}`), key)),
    ];
    await pushReferrers(registry.host, repository, digest, [good, ...others]);
    const [met] = (await byKey(name)).verifications;
    assert.equal(met?.digest, digest);
    const absent = referrerOf('never pushed');
    const list = referrersIndex([good, absent]);
    answerReferrers = (response) => response.end(list.bytes);
    const before = front.requests.length;
    await byKey(`${front.host}/${repository}:v1`);
    const asked = front.requests.slice(before).map(({ url = '' }) => url);
    assert(asked.some((url) => url.endsWith(absent.manifest.digest)));
    answerReferrers = (response) => response.end(referrersIndex([absent, good]).bytes);
    const again = front.requests.length;
    await byKey(`${front.host}/${repository}:v1`);
    const urls = front.requests.slice(again).map(({ url = '' }) => url);
    assert(!urls.some((url) => url.endsWith(absent.manifest.digest)), urls.join(' '));
  });

  it('takes a bundle of the index or of its manifest', async () => {
    const { repository, name } = await pushImage();
    const list = referrersIndex([image], '');
    await pushManifest(registry.host, repository, 'index', list);
    const indexName = name.replace(':v1', ':index');
    await refused(byKey(indexName), `no sigstore bundle of ${list.digest}`, `bundle of ${digest}`);
    const ofIndex = referrerOf(signBundle(statementOf(list.digest), key));
    await pushReferrers(registry.host, repository, list.digest, [ofIndex]);
    assert.equal((await byKey(indexName)).verifications[0]?.digest, list.digest);
    await pushReferrers(registry.host, repository, list.digest, [bad]);
    await pushReferrers(registry.host, repository, digest, [good]);
    assert.equal((await byKey(indexName)).verifications[0]?.digest, digest);
  });

  it('asks the referrers API first, over its pages, and falls back to the tag', async () => {
    const { repository } = await pushImage();
    const name = `${front.host}/${repository}:v1`;
    const type = { 'content-type': 'application/vnd.oci.image.index.v1+json' };
    await pushReferrers(registry.host, repository, digest, [good]);
    await pushReferrers(registry.host, repository, digest, [bad]);
    const pages: string[] = [];
    answerReferrers = (response, page) => {
      pages.push(page);
      const link = `</v2/${repository}/referrers/${digest}?last=2&n=1>; rel="next"`;
      response.writeHead(200, { ...type, ...(page === '' && { link }) });
      response.end(referrersIndex([page === '' ? bad : good], BUNDLE_TYPE).bytes);
    };
    await byKey(name);
    assert.deepEqual(pages, ['', '?last=2&n=1']);
    // A list that never ends is left.
    pages.length = 0;
    answerReferrers = (response) => {
      pages.push('');
      const link = `<?n=${pages.length}>; rel="next"`;
      response.writeHead(200, { ...type, link }).end(referrersIndex([bad]).bytes);
    };
    await refused(byKey(name), 'made by no key');
    assert.equal(pages.length, 10);
    await pushReferrers(registry.host, repository, digest, [good]);
    for (const status of [400, 404, 405, 406]) {
      answerReferrers = (response) => response.writeHead(status).end();
      await byKey(name);
    }
    answerReferrers = (response) => response.writeHead(200, type).end(referrersIndex([]).bytes);
    await byKey(name);
  });

  it('bounds what a list may be', async () => {
    const { repository } = await pushImage();
    const name = `${front.host}/${repository}:v1`;
    await pushReferrers(registry.host, repository, digest, [bad, good]);
    const answers: [string, string][] = [
      ['garbage', 'is not JSON'],
      ['{"manifests":{}}', 'manifests is not an array'],
      ['{"manifests":[{"digest":"../../x","size":1}]}', 'is not a sha256 digest'],
      [`{"manifests":[],"pad":"${'x'.repeat(4 << 20)}"}`, 'is larger than 4194304 bytes'],
    ];
    for (const [answer, reason] of answers) {
      answerReferrers = (response) => response.end(answer);
      await refused(byKey(name), 'list of referrers', reason);
    }
    const many = Array.from({ length: 50 }, () => bad);
    answerReferrers = (response) => response.end(referrersIndex([good, ...many]).bytes);
    const before = front.requests.length;
    await refused(byKey(name), 'and 46 more');
    assert(front.requests.length - before < 110);
    answerReferrers = (response) => response.end(referrersIndex([...many, good]).bytes);
    await byKey(name);
  });

  it('tells a registry that cannot be asked from an image that is not signed', async () => {
    const { repository } = await pushImage();
    const name = `${front.host}/${repository}:v1`;
    answerReferrers = (response) => response.writeHead(503).end();
    await assert.rejects(byKey(name), {
      kind: 'registry-unavailable',
      message: /cannot list the sigstore bundles of sha256:.* answered 503/,
    });
    answerReferrers = (response) => response.writeHead(403).end();
    await assert.rejects(byKey(name), { kind: 'permission-denied' });
    // What is signed in the older format does not depend on it.
    await pushSignatures(registry.host, repository, digest, [
      signPayload(payloadOf(digest, 'a.io/b'), key),
    ]);
    await byKey(name);
  });

  it('pulls, checks layouts, and loads archives with what is beside the image in them', async () => {
    const policy = join(temp, 'policy.json');
    writeFileSync(policy, policyOf({ type: 'matchDigest' }));
    const images = await openImages(join(temp, 'images'), opener, policy);
    try {
      const { repository, name } = await pushImage();
      await refused(images.store.pull(name, null, {}), `no sigstore bundle of ${digest}`);
      await pushReferrers(registry.host, repository, digest, [bad, good]);
      assert.equal((await images.store.pull(name, null, {})).id, image.id);
      await images.store.remove(image.id as never);

      const folder = join(temp, 'layout');
      mkdirSync(folder);
      const tag = `example.org/app:${digest.replace(':', '-')}`;
      const beside = (referrer: Referrer) => ({ ...image, ...referrersImage([referrer]) });
      writeLayout(folder, { 'example.org/app:1': image, [tag]: beside(bad) });
      await refused(images.store.pull(`oci:${folder}:1`, null, {}), 'made by no key');
      writeLayout(folder, { 'example.org/app:1': image, [tag]: beside(good) });
      // Needs no name: what is beside the image is none.
      assert.equal((await images.store.pull(`oci:${folder}`, null, {})).id, image.id);
      await images.store.remove(image.id as never);

      const archive = join(temp, 'archive.tar');
      execFileSync('tar', ['-C', folder, '-cf', archive, '.']);
      const { signal } = new AbortController();
      const loaded = await images.store.load(createReadStream(archive), {
        name: 'archive',
        signal,
      });
      assert.deepEqual(
        loaded.map(({ names }) => names),
        [['example.org/app:1']],
      );
      assert.equal(images.store.list().length, 1);
    } finally {
      images.close();
    }
  });
});
