/** Pulls under a signature policy, from a real registry, with signatures made here. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeError } from '../../../src/core/errors.js';
import { createRegistryOpener } from '../../../src/images/registry/source.js';
import { ImagePolicy } from '../../../src/images/signature/image-policy.js';
import { PolicyVerifier } from '../../../src/images/signature/image-verifier.js';
import {
  ecKeys,
  ed25519Keys,
  payloadOf,
  pushSignatures,
  rsaKeys,
  signatureManifest,
  signEd25519,
  signPayload,
  signPss,
  type KeyPair,
} from '../../support/cosign.js';
import {
  push,
  pushBlob,
  pushManifest,
  startDockerRegistry,
  type DockerRegistry,
} from '../../support/docker-registry.js';
import { openImages, type OpenedImages } from '../../support/images.js';
import {
  ARCHITECTURE,
  buildImage,
  descriptorOf,
  makeBlob,
  writeLayout,
  type BuiltImage,
} from '../../support/oci-image.js';
import { file } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('signature policy', () => {
  let temp: string;
  let registry: DockerRegistry;
  let images: OpenedImages;
  let policyFile: string;
  const key = ecKeys();
  const opener = createRegistryOpener(() => join(temp, 'hosts'));

  before(async () => {
    temp = makeTempFolder();
    registry = await startDockerRegistry(temp);
    policyFile = join(temp, 'policy.json');
  });
  after(async () => {
    await registry.stop();
    removeTempFolder(temp);
  });
  beforeEach(async () => {
    images = await openImages(join(temp, 'images'), opener, policyFile);
  });
  afterEach(() => {
    images.close();
    removeTempFolder(join(temp, 'images'));
  });

  let count = 0;
  /** An image in a repository of its own. */
  async function pushImage(): Promise<{ image: BuiltImage; repository: string; name: string }> {
    count += 1;
    const repository = `team/app${count}`;
    const image = buildImage({ layers: [[file('one', String(count))]] });
    await push(registry.host, repository, 'v1', image);
    return { image, repository, name: `${registry.host}/${repository}` };
  }

  function writePolicy(policy: unknown): void {
    writeFileSync(policyFile, JSON.stringify(policy));
  }

  function keyFile(name: string, pair: KeyPair): string {
    const path = join(temp, name);
    writeFileSync(path, pair.publicPem);
    return path;
  }

  function demand(requirement: Record<string, unknown>): void {
    writePolicy({
      default: [{ type: 'reject' }],
      transports: { docker: { [registry.host]: [{ type: 'sigstoreSigned', ...requirement }] } },
    });
  }

  const byRepository = { signedIdentity: { type: 'matchRepository' } };

  async function refused(reference: string, ...parts: (string | RegExp)[]): Promise<void> {
    await assert.rejects(images.store.pull(reference, null, {}), (error) => {
      assert(error instanceof RuntimeError, String(error));
      assert.equal(error.kind, 'signature-invalid', error.message);
      for (const part of parts) {
        if (typeof part === 'string') assert(error.message.includes(part), error.message);
        else assert.match(error.message, part);
      }
      return true;
    });
    assert.equal(images.store.list().length, 0);
    const layers = readdirSync(join(images.root, 'layers'), { recursive: true });
    assert.deepEqual(layers, ['.tmp'], 'nothing was unpacked');
    assert.deepEqual(readdirSync(join(images.root, 'blobs/sha256')), [], 'nothing was kept');
  }

  it('accepts what every kind of key has signed', async () => {
    const kinds: [string, KeyPair, typeof signPss | undefined][] = [
      ['p256', ecKeys('P-256'), undefined],
      ['p384', ecKeys('P-384'), undefined],
      ['p521', ecKeys('P-521'), undefined],
      ['ed25519', ed25519Keys(), signEd25519],
      ['rsa', rsaKeys(), undefined],
      ['pss', rsaKeys(3072), signPss],
    ];
    for (const [kind, pair, signWith] of kinds) {
      const { image, repository, name } = await pushImage();
      const { digest } = image.manifest;
      demand({ keyPath: keyFile(kind, pair), ...byRepository });
      await pushSignatures(registry.host, repository, digest, [
        signPayload(payloadOf(digest, name), pair, signWith),
      ]);
      const pulled = await images.store.pull(`${name}:v1`, null, {});
      assert.equal(pulled.id, image.id, kind);
    }
  });

  it('refuses an image without a signature, and accepts it once it is signed', async () => {
    const { image, repository, name } = await pushImage();
    const { digest } = image.manifest;
    const path = keyFile('cosign.pub', key);
    demand({ keyPath: path, ...byRepository });
    await refused(
      `${name}:v1`,
      `${name}:v1`,
      digest,
      `transports.docker["${registry.host}"] of ${policyFile}`,
      `there is no signature sha256-${digest.slice(7)}.sig`,
      'cosign sign --key',
    );
    await pushSignatures(registry.host, repository, digest, [
      signPayload(payloadOf(digest, name), ecKeys()),
      signPayload(payloadOf(digest, name), key),
    ]);
    assert.equal((await images.store.pull(`${name}:v1`, null, {})).id, image.id);
    assert.equal((await images.store.pull(`${name}@${digest}`, null, {})).id, image.id);
  });

  it('checks an image that is here already', async () => {
    const { image, name } = await pushImage();
    writePolicy({ default: [{ type: 'insecureAcceptAnything' }] });
    await images.store.pull(`${name}:v1`, null, {});
    demand({ keyPath: keyFile('cosign.pub', key), ...byRepository });
    for (const reference of [`${name}:v1`, `${name}@${image.manifest.digest}`]) {
      await assert.rejects(images.store.pull(reference, null, {}), /there is no signature/);
    }
  });

  it('refuses another key, another image, another repository and what was tampered with', async () => {
    const { image, repository, name } = await pushImage();
    const { digest } = image.manifest;
    const path = keyFile('cosign.pub', key);
    demand({ keyPath: path, ...byRepository });
    const good = signPayload(payloadOf(digest, name), key);
    const other = `sha256:${'0'.repeat(64)}`;
    const cases: [string, ReturnType<typeof signPayload>, string | RegExp][] = [
      ['key', signPayload(payloadOf(digest, name), ecKeys()), `made by no key of ${path}`],
      ['digest', signPayload(payloadOf(other, name), key), `it is for ${other}`],
      [
        'repository',
        signPayload(payloadOf(digest, `${registry.host}/evil/app`), key),
        `it is for "${registry.host}/evil/app", not for "${name}"`,
      ],
      ['no name', signPayload(payloadOf(digest, ''), key), 'which is no image reference'],
      [
        'payload',
        { ...good, payload: { ...signPayload(`${payloadOf(digest, name)} `, key).payload } },
        'made by no key',
      ],
      [
        'signature',
        { ...good, signature: Buffer.from('garbage').toString('base64') },
        'made by no key',
      ],
      ['no base64', { ...good, signature: '!!' }, 'has no base64 signature'],
      ['no JSON', signPayload('{', key), 'is not JSON'],
      [
        'type',
        signPayload(payloadOf(digest, name).replace('cosign container', 'atomic container'), key),
        'critical.type is "atomic container image signature"',
      ],
      [
        'more in it',
        signPayload(payloadOf(digest, name).replace('"type"', '"more":1,"type"'), key),
        'unknown key "more"',
      ],
      [
        'twice',
        signPayload(
          payloadOf(digest, name).replace(
            '"docker-manifest-digest"',
            `"docker-manifest-digest":"${other}","docker-manifest-digest"`,
          ),
          key,
        ),
        'key "docker-manifest-digest" twice',
      ],
    ];
    for (const [what, signed, reason] of cases) {
      await pushSignatures(registry.host, repository, digest, [signed]);
      await refused(`${name}:v1`, what === 'no base64' ? /base64/ : /not signed as/, reason);
    }
    const many = Array.from({ length: 51 }, () => good);
    await pushSignatures(registry.host, repository, digest, many);
    await refused(`${name}:v1`, 'has 51 signatures, more than 50');
    await pushSignatures(registry.host, repository, digest, many.slice(1));
    assert.equal((await images.store.pull(`${name}:v1`, null, {})).id, image.id);
  });

  it('refuses a payload that is too large, and one with other content than its digest', async () => {
    const { image, repository, name } = await pushImage();
    const { digest } = image.manifest;
    demand({ keyPath: keyFile('cosign.pub', key), ...byRepository });
    const padded = payloadOf(digest, name).replace('null', `{"pad":"${'x'.repeat(65 << 10)}"}`);
    await pushSignatures(registry.host, repository, digest, [signPayload(padded, key)]);
    await refused(`${name}:v1`, 'is larger than 65536 bytes');
    // A registry checks what is pushed; what lies on its disk it serves as it is.
    const signed = signPayload(payloadOf(digest, name), key);
    await pushSignatures(registry.host, repository, digest, [signed]);
    const hex = signed.payload.digest.slice(7);
    const blob = join(
      temp,
      `registry/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`,
    );
    writeFileSync(
      blob,
      payloadOf(digest, `${registry.host}/evil`).padEnd(signed.payload.bytes.length),
    );
    await refused(`${name}:v1`, 'came with content of digest');
  });

  it('takes a signature of the index or of its manifest', async () => {
    const { image, repository, name } = await pushImage();
    demand({ keyPath: keyFile('cosign.pub', key), ...byRepository });
    const pushIndex = async (annotation: string): Promise<string> => {
      const mediaType = 'application/vnd.oci.image.index.v1+json';
      const platform = { os: 'linux', architecture: ARCHITECTURE };
      const index = makeBlob(
        mediaType,
        JSON.stringify({
          schemaVersion: 2,
          mediaType,
          manifests: [{ ...descriptorOf(image.manifest), platform }],
          annotations: { annotation },
        }),
      );
      await pushManifest(registry.host, repository, annotation, index);
      return index.digest;
    };
    const first = await pushIndex('first');
    await refused(`${name}:first`, first, `sha256-${image.manifest.digest.slice(7)}.sig`);
    await pushSignatures(registry.host, repository, first, [
      signPayload(payloadOf(first, name), key),
    ]);
    assert.equal((await images.store.pull(`${name}:first`, null, {})).id, image.id);
    await pushIndex('second');
    await assert.rejects(images.store.pull(`${name}:second`, null, {}), /not signed/);
    await pushSignatures(registry.host, repository, image.manifest.digest, [
      signPayload(payloadOf(image.manifest.digest, name), key),
    ]);
    assert.equal((await images.store.pull(`${name}:second`, null, {})).id, image.id);
  });

  it('compares the identity as the policy says', async () => {
    const { image, repository, name } = await pushImage();
    const { digest } = image.manifest;
    const path = keyFile('cosign.pub', key);
    await pushSignatures(registry.host, repository, digest, [
      signPayload(payloadOf(digest, name), key),
    ]);
    demand({ keyPath: path });
    await refused(`${name}:v1`, 'cosign names no tag: use signedIdentity matchRepository');
    assert.equal((await images.store.pull(`${name}@${digest}`, null, {})).id, image.id);
    await images.store.remove(image.id as never);
    await pushSignatures(registry.host, repository, digest, [
      signPayload(payloadOf(digest, `${name}:v1`), key),
    ]);
    await images.store.pull(`${name}:v1`, null, {});
    demand({ keyPath: path, signedIdentity: { type: 'matchExact' } });
    await images.store.pull(`${name}:v1`, null, {});
    await images.store.remove(image.id as never);
    await refused(`${name}@${digest}`, `not for "${name}@${digest}"`);
    demand({
      keyPath: path,
      signedIdentity: { type: 'remapIdentity', prefix: registry.host, signedPrefix: 'quay.io' },
    });
    await refused(`${name}:v1`, `not for "quay.io/${repository}"`);
    await pushSignatures(registry.host, repository, digest, [
      signPayload(payloadOf(digest, `quay.io/${repository}:v1`), key),
    ]);
    await images.store.pull(`${name}:v1`, null, {});
  });

  it('needs all requirements, and any key of a list', async () => {
    const { image, repository, name } = await pushImage();
    const { digest } = image.manifest;
    const second = ecKeys();
    const signedBy = (pair: KeyPair) => ({
      type: 'sigstoreSigned',
      keyData: Buffer.from(pair.publicPem).toString('base64'),
      ...byRepository,
    });
    const both = [signedBy(key), signedBy(second)];
    writePolicy({
      default: [{ type: 'reject' }],
      transports: { docker: { [`${name}:v1`]: both, [registry.host]: [{ type: 'reject' }] } },
    });
    await pushSignatures(registry.host, repository, digest, [
      signPayload(payloadOf(digest, name), key),
    ]);
    await refused(`${name}:v1`, /made by no key of .*transports\.docker.*\[1\]\.keyData/);
    await pushSignatures(registry.host, repository, digest, [
      signPayload(payloadOf(digest, name), second),
      signPayload(payloadOf(digest, name), key),
    ]);
    await images.store.pull(`${name}:v1`, null, {});
    demand({ keyPaths: [keyFile('a', ecKeys()), keyFile('b', key)], ...byRepository });
    await images.store.pull(`${name}:v1`, null, {});
  });

  it('refuses what the policy rejects or cannot express here, before asking anybody', async () => {
    const nowhere = '127.0.0.1:1/team/app:v1';
    writePolicy({ default: [{ type: 'reject' }] });
    await refused(nowhere, `image ${nowhere} is rejected by default of ${policyFile}`);
    const foreign = [
      [{ type: 'signedBy', keyType: 'GPGKeys', keyPath: '/k' }, 'requirement type "signedBy"'],
      [{ type: 'sigstoreSigned', fulcio: {} }, 'field "fulcio"'],
      [{ type: 'sigstoreSigned', keyPath: '/k', rekorPublicKeyPath: '/r' }, 'rekorPublicKeyPath'],
    ] as const;
    for (const [requirement, reason] of foreign) {
      writePolicy({ default: [{ type: 'insecureAcceptAnything' }, requirement] });
      await refused(nowhere, reason);
    }
  });

  it('refuses everything while the policy or a key cannot be read', async () => {
    const { name } = await pushImage();
    const broken: [string, string][] = [
      ['{', 'is not JSON'],
      ['{}', 'default is missing'],
      ['{"default":[]}', 'default is an empty list'],
      ['{"default":[{"type":"insecureAcceptAnything"}],"extra":1}', 'unknown key "extra"'],
      ['{"default":[{"type":"acceptAnything"}]}', 'default[0].type "acceptAnything" is unknown'],
      ['{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}', 'key "default" twice'],
    ];
    for (const [text, reason] of broken) {
      writeFileSync(policyFile, text);
      await refused(`${name}:v1`, policyFile, reason);
    }
    const missing = join(temp, 'missing.pub');
    demand({ keyPath: missing });
    await refused(`${name}:v1`, `cannot read key ${missing}`, 'ENOENT');
    const pem = key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    for (const text of ['nonsense', pem, `${key.publicPem}${key.publicPem}`]) {
      writeFileSync(missing, text);
      await refused(`${name}:v1`, missing, 'holds no public key');
    }
    writeFileSync(missing, rsaKeys(1024).publicPem);
    await refused(`${name}:v1`, 'has 1024 bits');
    writeFileSync(missing, ecKeys('secp256k1').publicPem);
    await refused(`${name}:v1`, 'is of curve secp256k1');
    assert.equal(existsSync('/etc/pvecri/policy.json'), false);
    const none = await ImagePolicy.read('/etc/pvecri/policy.json');
    const origin = { kind: 'layout', path: temp, name: '' } as const;
    assert.equal((await none.demandsOf(origin)).acceptsAnything, true);
    await assert.rejects(ImagePolicy.read(join(temp, 'absent.json')), /cannot read the signature/);
  });

  it('checks layouts by where their path leads', async () => {
    const image = buildImage({ layers: [[file('one', 'layout')]] });
    const folder = join(temp, 'layouts/here');
    mkdirSync(folder, { recursive: true });
    writeLayout(folder, { 'example.org/app:1': image });
    symlinkSync(folder, join(temp, 'link'));
    const identity = { type: 'exactRepository', dockerRepository: 'example.org/app' };
    writePolicy({
      default: [{ type: 'insecureAcceptAnything' }],
      transports: {
        oci: {
          [join(temp, 'layouts')]: [
            {
              type: 'sigstoreSigned',
              keyPath: keyFile('cosign.pub', key),
              signedIdentity: identity,
            },
          ],
        },
      },
    });
    for (const path of [folder, join(temp, 'link')]) {
      await refused(`oci:${path}:1`, 'there is no signature', 'transports.oci');
      await refused(`${path}:1`, 'there is no signature');
    }
    const { digest } = image.manifest;
    const signed = signatureManifest([signPayload(payloadOf(digest, 'example.org/app'), key)]);
    writeLayout(folder, {
      'example.org/app:1': image,
      [`example.org/app:sha256-${digest.slice(7)}.sig`]: { ...image, ...signed },
    });
    assert.equal((await images.store.pull(`oci:${folder}:1`, null, {})).id, image.id);
  });

  it('verifies without pulling, and what is here by its id', async () => {
    const { image, repository, name } = await pushImage();
    const { digest } = image.manifest;
    writePolicy({ default: [{ type: 'insecureAcceptAnything' }] });
    const verifier = new PolicyVerifier({
      images: images.store,
      openRegistry: opener,
      readPolicy: () => ImagePolicy.read(policyFile),
    });
    const { signal } = new AbortController();
    const byKey = {
      kind: 'key',
      name: 'cosign.pub',
      content: Buffer.from(key.publicPem),
    } as const;
    const open = await verifier.verify(`${name}:v1`, null, { check: { kind: 'host' }, signal });
    assert.deepEqual(open.verifications, []);
    assert.equal(open.where, `default of ${policyFile}`);
    await assert.rejects(
      verifier.verify(`${name}:v1`, null, { check: byKey, signal }),
      /there is no signature/,
    );
    await pushBlob(registry.host, repository, image.manifest);
    await pushSignatures(registry.host, repository, digest, [
      signPayload(payloadOf(digest, 'elsewhere.example/app'), key),
    ]);
    const found = await verifier.verify(`${name}:v1`, null, { check: byKey, signal });
    assert.equal(found.id, undefined);
    assert.equal(found.repoDigest, `${name}@${digest}`);
    const [met] = found.verifications;
    assert.equal(met?.identity, 'elsewhere.example/app');
    assert.match(met.fingerprint, /^SHA256:[A-Za-z0-9+/]{43}$/);
    await images.store.pull(`${name}:v1`, null, {});
    for (const id of [image.id, image.id.slice(7, 20)]) {
      const here = await verifier.verify(id, null, { check: byKey, signal });
      assert.equal(here.id, image.id);
    }
  });
});
