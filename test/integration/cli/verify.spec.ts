/** A signature policy as the kubelet and a person meet it. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PullImageRequest } from '../../../src/cri/gen/index.js';
import { TestAgent } from '../../support/agent.js';
import { ecKeys, payloadOf, signatureManifest, signPayload } from '../../support/cosign.js';
import { buildImage, writeLayout } from '../../support/oci-image.js';
import { referrerOf, referrersImage, signBundle, statementOf } from '../../support/sigstore.js';
import { file } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';
import { pvecri } from './command.js';

describe('verify', () => {
  const key = ecKeys();
  const image = buildImage({ layers: [[file('one', '1')]] });
  const { digest } = image.manifest;
  let temp: string;
  let agent: TestAgent;
  let reference: string;

  before(async () => {
    temp = makeTempFolder();
    const layout = join(temp, 'layout');
    mkdirSync(layout);
    const signed = signatureManifest([signPayload(payloadOf(digest, 'example.org/app'), key)]);
    writeLayout(layout, {
      'example.org/app:1': image,
      [`example.org/app:sha256-${digest.slice(7)}.sig`]: { ...image, ...signed },
    });
    reference = `oci:${layout}:1`;
    writeFileSync(join(temp, 'cosign.pub'), key.publicPem);
    writeFileSync(join(temp, 'other.pub'), ecKeys().publicPem);
    agent = new TestAgent(`[images]\npolicy = "${join(temp, 'policy.json')}"\n`);
    writePolicy('other.pub');
    await agent.start();
  });
  after(async () => {
    assert.deepEqual(await agent.close(), []);
    removeTempFolder(temp);
  });

  function writePolicy(keyName: string, name = 'policy.json'): void {
    const requirement = {
      type: 'sigstoreSigned',
      keyPath: join(temp, keyName),
      signedIdentity: { type: 'exactRepository', dockerRepository: 'example.org/app' },
    };
    writeFileSync(join(temp, name), JSON.stringify({ default: [requirement] }));
  }

  it('tells the kubelet by the prefix it knows, and lets the next pull through', async () => {
    const pull = () =>
      agent.client.image.pullImage(PullImageRequest.create({ image: { image: reference } }));
    await assert.rejects(pull(), { kind: 'signature-invalid', message: /made by no key of/ });
    assert.match(agent.output, /SignatureValidationFailed|made by no key of/);
    writePolicy('cosign.pub');
    assert.equal((await pull()).imageRef, image.id);
    writePolicy('other.pub');
  });

  it('tells a person who signed, or why that does not count', async () => {
    const byKey = await pvecri(agent, ['verify', '--key', join(temp, 'cosign.pub'), reference]);
    assert.equal(byKey.code, 0, byKey.stderr);
    assert.match(byKey.stdout, new RegExp(`^Digest: +example.org/app@${digest}$`, 'm'));
    assert.match(byKey.stdout, /^Signed by: +\S+cosign\.pub \(SHA256:\S{43}\)$/m);
    assert.match(byKey.stdout, /^as: +example\.org\/app$/m);
    assert.match(byKey.stdout, new RegExp(`^Here: +${image.id}$`, 'm'));

    const refused = await pvecri(agent, ['verify', reference]);
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /default of \S+policy\.json demands.*made by no key of \S+other\.pub/,
    );

    writePolicy('cosign.pub', 'mine.json');
    const mine = join(temp, 'mine.json');
    const byPolicy = await pvecri(agent, ['verify', '--json', '--policy', mine, reference]);
    assert.equal(byPolicy.code, 0, byPolicy.stderr);
    const document = JSON.parse(byPolicy.stdout) as { where: string; verifications: unknown[] };
    assert.equal(document.where, `default of ${mine}`);
    assert.equal(document.verifications.length, 1);

    writeFileSync(mine, '{"default":[{"type":"insecureAcceptAnything"}]}');
    const open = await pvecri(agent, ['verify', '--policy', mine, reference]);
    assert.match(open.stdout, /^Signature: +none is needed$/m);
  });

  it('tells of a signature of cosign 3 that it names no image', async () => {
    const layout = join(temp, 'bundled');
    mkdirSync(layout);
    const referrer = referrerOf(signBundle(statementOf(digest), key));
    writeLayout(layout, {
      'example.org/app:1': image,
      [`example.org/app:${digest.replace(':', '-')}`]: { ...image, ...referrersImage([referrer]) },
    });
    const bundled = `oci:${layout}:1`;
    const byKey = await pvecri(agent, ['verify', '--key', join(temp, 'cosign.pub'), bundled]);
    assert.equal(byKey.code, 0, byKey.stderr);
    assert.match(
      byKey.stdout,
      /^Signed by: +\S+cosign\.pub \(SHA256:\S{43}\)\nas: +a digest alone/m,
    );
    writePolicy('cosign.pub', 'named.json');
    const byPolicy = await pvecri(agent, ['verify', '--policy', join(temp, 'named.json'), bundled]);
    assert.equal(byPolicy.code, 1);
    assert.match(byPolicy.stderr, /bundle sha256:.* names no image.*exactRepository wants a name/);
  });

  it('refuses wrong usage', async () => {
    const both = await pvecri(agent, ['verify', '--key', 'a', '--policy', 'b', reference]);
    assert.deepEqual(
      [both.code, both.stderr],
      [2, 'pvecri: --key and --policy exclude each other\n'],
    );
    const missing = await pvecri(agent, ['verify', '--key', join(temp, 'none'), reference]);
    assert.equal(missing.code, 2);
    assert.match(missing.stderr, /cannot read \S+none: ENOENT/);
    const garbage = await pvecri(agent, ['verify', '--key', join(temp, 'policy.json'), reference]);
    assert.equal(garbage.code, 1);
    assert.match(garbage.stderr, /holds no public key/);
    const absent = await pvecri(agent, ['verify', `oci:${temp}/none`]);
    assert.equal(absent.code, 3);
  });
});
