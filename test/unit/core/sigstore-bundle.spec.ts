import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { RuntimeError } from '../../../src/core/errors.js';
import {
  isAttachmentTag,
  parseBundleManifest,
  parseReferrers,
  referrersTag,
} from '../../../src/core/referrers.js';
import { parseBundle, parseStatement } from '../../../src/core/sigstore-bundle.js';
import { ecKeys } from '../../support/cosign.js';
import { digestOf } from '../../support/oci-image.js';
import { signBundle, statementOf } from '../../support/sigstore.js';

const path = new URL('../../fixtures/cosign-3.json', import.meta.url);
const real = JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>;
const bytesOf = (name: string): Buffer => Buffer.from(real[name] ?? '');

describe('sigstore bundle', () => {
  it('is read as cosign has written it', () => {
    const [referrer, ...more] = parseReferrers(bytesOf('referrers'), 'list');
    assert.deepEqual([referrer?.digest, more], [digestOf(bytesOf('referrer')), []]);
    const layer = parseBundleManifest(bytesOf('referrer'), 'referrer');
    assert.equal(layer?.digest, digestOf(bytesOf('bundle')));
    const { statement, signed, signature } = parseBundle(bytesOf('bundle'), 'bundle');
    assert.deepEqual(parseStatement(statement, 'statement'), {
      digest: digestOf(bytesOf('image')),
      reference: null,
    });
    const key = createPublicKey(bytesOf('key'));
    assert(verify('sha256', signed, key, signature));
    assert(!verify('sha256', statement, key, signature), 'what is signed has its type and length');
  });

  it('has a tag beside the image', () => {
    const digest = digestOf('');
    const tag = referrersTag(digest);
    assert.equal(tag, `sha256-${digest.slice(7)}`);
    for (const suffix of ['', '.sig', '.att', '.sbom']) assert(isAttachmentTag(tag + suffix));
    for (const other of ['1.0', 'sha256-ab', `${tag}.x`, `x${tag}`])
      assert(!isAttachmentTag(other));
  });

  it('is refused or read, whatever there is', () => {
    const key = ecKeys();
    const digest = digestOf('image');
    const good = signBundle(statementOf(digest), key);
    const readAll = (bytes: Buffer): void => {
      const readers = [
        () => parseReferrers(bytes, 'list'),
        () => parseBundleManifest(bytes, 'referrer'),
        () => parseStatement(bytes, 'statement'),
        () => parseStatement(parseBundle(bytes, 'bundle').statement, 'statement'),
      ];
      for (const read of readers) {
        try {
          read();
        } catch (error) {
          assert(error instanceof RuntimeError, String(error));
          assert(['invalid-argument', 'failed-precondition'].includes(error.kind));
        }
      }
    };
    fc.assert(
      fc.property(fc.json(), (text) => {
        readAll(Buffer.from(text));
      }),
    );
    const texts = [good, real['referrers'], real['referrer'], real['bundle']].map(String);
    fc.assert(
      fc.property(
        fc.constantFrom(...texts),
        fc.nat({ max: 1000 }),
        fc.nat({ max: 8 }),
        fc.string({ maxLength: 4 }),
        (text, at, cut, put) => {
          readAll(Buffer.from(text.slice(0, at) + put + text.slice(at + cut)));
        },
      ),
    );
  });

  it('counts for nothing with a byte of it changed', () => {
    const key = ecKeys();
    const statement = Buffer.from(JSON.stringify(statementOf(digestOf('image'))));
    const publicKey = createPublicKey(key.publicPem);
    fc.assert(
      fc.property(
        fc.nat({ max: statement.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        (at, bit) => {
          const changed = Buffer.from(statement);
          changed[at] = (changed[at] ?? 0) ^ bit;
          const bundle = signBundle(statement.toString(), key, {
            envelope: { payload: changed.toString('base64') },
          });
          const { signed, signature } = parseBundle(Buffer.from(bundle), 'bundle');
          assert(!verify('sha256', signed, publicKey, signature));
        },
      ),
      { numRuns: 30 },
    );
  });
});
