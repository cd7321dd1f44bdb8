import assert from 'node:assert/strict';
import fc from 'fast-check';
import { RuntimeError } from '../../../src/core/errors.js';
import { parseImageReference } from '../../../src/core/image-reference.js';
import {
  parseSignaturePolicy,
  requirementsFor,
  scopesOfPath,
  scopesOfReference,
  type SignaturePolicy,
} from '../../../src/core/signature-policy.js';

const ACCEPT = [{ type: 'insecureAcceptAnything' }];
const REJECT = [{ type: 'reject' }];

function parse(document: unknown): SignaturePolicy {
  return parseSignaturePolicy(Buffer.from(JSON.stringify(document)), 'policy.json');
}

function withScopes(transport: string, scopes: readonly string[]): SignaturePolicy {
  const entries = Object.fromEntries(scopes.map((scope) => [scope, REJECT]));
  return parse({ default: ACCEPT, transports: { [transport]: entries } });
}

function chosen(policy: SignaturePolicy, reference: string): string {
  return requirementsFor(policy, 'docker', scopesOfReference(parseImageReference(reference))).where;
}

describe('signature policy', () => {
  it('lists the scopes of a reference from the most to the least specific', () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    assert.deepEqual(scopesOfReference(parseImageReference('r.example.com:5000/a/b:1')), [
      'r.example.com:5000/a/b:1',
      'r.example.com:5000/a/b',
      'r.example.com:5000/a',
      'r.example.com:5000',
      '*.example.com',
      '*.com',
    ]);
    assert.deepEqual(scopesOfReference(parseImageReference(`busybox@${digest}`)), [
      `docker.io/library/busybox@${digest}`,
      'docker.io/library/busybox',
      'docker.io/library',
      'docker.io',
      '*.io',
    ]);
    assert.deepEqual(scopesOfPath('/srv/images/x'), ['/srv/images/x', '/srv/images', '/srv']);
  });

  it('takes the most specific scope, then the transport, then the default', () => {
    const name = 'r.example.com/a/b:1';
    const scopes = [
      'r.example.com/a/b:1',
      'r.example.com/a/b',
      'r.example.com/a',
      'r.example.com',
      '*.example.com',
      '*.com',
      '',
    ];
    for (const index of scopes.keys()) {
      const left = scopes.slice(index);
      const where = `transports.docker[${JSON.stringify(left[0])}]`;
      assert.equal(chosen(withScopes('docker', left), name), where);
    }
    assert.equal(
      chosen(withScopes('docker', ['other.example.com', 'r.example.com/ab']), name),
      'default',
    );
    assert.equal(chosen(withScopes('oci', ['']), name), 'default');
  });

  it('never lets a scope count for what is not below it', () => {
    const label = fc.stringMatching(/^[a-z0-9]{1,5}$/);
    const host = fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => labels.join('.'));
    const path = fc.array(label, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    fc.assert(
      fc.property(host, path, host, path, label, (hostA, pathA, hostB, pathB, tag) => {
        const scope = `${hostA}/${pathA}`;
        const reference = `${hostB}/${pathB}:${tag}`;
        const isBelow =
          `${hostB}/${pathB}` === scope || `${hostB}/${pathB}`.startsWith(`${scope}/`);
        assert.equal(chosen(withScopes('docker', [scope]), reference) !== 'default', isBelow);
        const wildcard = `*.${hostA}`;
        assert.equal(
          chosen(withScopes('docker', [wildcard]), reference) !== 'default',
          hostB.endsWith(`.${hostA}`),
        );
      }),
    );
  });

  it('gives every list of scopes its longest match', () => {
    const scopes = [
      '',
      '*.example',
      'r.example',
      'r.example/a',
      'r.example/a/b',
      'r.example/a/b:1',
    ];
    fc.assert(
      fc.property(fc.subarray(scopes, { minLength: 1 }), (some) => {
        const longest = some.reduce((a, b) => (b.length >= a.length ? b : a), '');
        const where = `transports.docker[${JSON.stringify(longest)}]`;
        assert.equal(chosen(withScopes('docker', some), 'r.example/a/b:1'), where);
      }),
    );
  });

  it('reads keys and identities', () => {
    const policy = parse({
      default: [
        { type: 'sigstoreSigned', keyPaths: ['/a', '/b'] },
        {
          type: 'sigstoreSigned',
          keyDatas: [Buffer.from('PEM').toString('base64')],
          signedIdentity: { type: 'exactRepository', dockerRepository: 'busybox' },
        },
      ],
    });
    assert.deepEqual(policy.default, [
      {
        type: 'sigstoreSigned',
        keys: [{ path: '/a' }, { path: '/b' }],
        identity: { type: 'matchRepoDigestOrExact' },
      },
      {
        type: 'sigstoreSigned',
        keys: [{ pem: 'PEM', where: 'policy.json: default[1].keyDatas[0]' }],
        identity: { type: 'exactRepository', repository: 'docker.io/library/busybox' },
      },
    ]);
  });

  it('refuses what it does not understand, with file and key', () => {
    const signed = (more: object): unknown => ({
      default: [{ type: 'sigstoreSigned', keyPath: '/k', ...more }],
    });
    const identity = (signedIdentity: object): unknown => signed({ signedIdentity });
    const cases: [unknown, RegExp][] = [
      [[], /policy\.json is not an object/],
      [{}, /policy\.json: default is missing/],
      [{ default: {} }, /default is not an array/],
      [{ default: [] }, /default is an empty list/],
      [{ default: [{}] }, /default\[0\]\.type is not a string/],
      [{ default: [{ type: 'accept' }] }, /default\[0\]\.type "accept" is unknown/],
      [{ default: [{ type: 'reject', keyPath: '/k' }] }, /default\[0\] has unknown key "keyPath"/],
      [{ default: REJECT, transport: {} }, /unknown key "transport"/],
      [{ default: REJECT, transports: { dokcer: {} } }, /transports\.dokcer is no transport/],
      [{ default: REJECT, transports: { docker: { a: [] } } }, /docker\["a"\] is an empty list/],
      [{ default: REJECT, transports: { docker: { a: {} } } }, /docker\["a"\] is not an array/],
      [signed({ keyPaths: ['/k'] }), /needs exactly one of keyPath, keyPaths, keyData, keyDatas/],
      [{ default: [{ type: 'sigstoreSigned' }] }, /needs exactly one of/],
      [signed({ keyPath: 'k' }), /keyPath "k" is no absolute path/],
      [signed({ keyPath: 5 }), /keyPath is not a string/],
      [signed({ KeyPath: '/k' }), /unknown key "KeyPath"/],
      [{ default: [{ type: 'sigstoreSigned', keyPaths: [] }] }, /keyPaths is an empty list/],
      [{ default: [{ type: 'sigstoreSigned', keyData: '?' }] }, /keyData is not base64/],
      [identity({ type: 'matchAll' }), /signedIdentity\.type "matchAll" is unknown/],
      [identity({ type: 'any' }), /signedIdentity\.type "any" is unknown/],
      [identity({ type: 'matchExact', prefix: 'a' }), /signedIdentity has unknown key "prefix"/],
      [identity({ type: 'exactReference' }), /dockerReference is not a string/],
      [
        identity({ type: 'exactReference', dockerReference: 'a/b' }),
        /dockerReference needs a tag or a digest/,
      ],
      [
        identity({ type: 'exactRepository', dockerRepository: 'a/b:1' }),
        /write the repository alone/,
      ],
      [
        identity({ type: 'remapIdentity', prefix: 'A/B', signedPrefix: 'a' }),
        /prefix "A\/B" is not host/,
      ],
    ];
    for (const [document, message] of cases) {
      assert.throws(() => parse(document), { name: 'RuntimeError', message });
    }
  });

  it('refuses scopes that could match nothing', () => {
    const docker = [
      'https://r.example.com',
      'r.example.com/',
      'r.example.com//a',
      'r.example.com/A',
      '*.',
      '*.example.com:5000',
      '*.example.com/a',
      '*',
      'a.*.example.com',
      'r.example.com/a:1@sha256:ab',
      `r.example.com/a:1@sha256:${'a'.repeat(64)}`,
      'r.example.com/a:',
      'index.docker.io/library',
    ];
    for (const scope of docker) {
      assert.throws(() => withScopes('docker', [scope]), /can match no image/, scope);
    }
    for (const scope of ['a', '/', '/a/', '/a/../b', '/a//b', '/a:b', './a']) {
      assert.throws(() => withScopes('oci', [scope]), /can match no image/, scope);
    }
    for (const scope of ['localhost:5000', 'r.example.com:5000/a', 'docker.io/library', 'host']) {
      withScopes('docker', [scope, `r.example.com/a@sha256:${'a'.repeat(64)}`]);
    }
    withScopes('containers-storage', ['[overlay@/run]x']);
  });

  it('accepts what other programs need, for scopes where it does not count', () => {
    const policy = parse({
      default: ACCEPT,
      transports: {
        docker: {
          'registry.access.redhat.com': [
            { type: 'signedBy', keyType: 'GPGKeys', keyPath: '/etc/pki/key' },
          ],
        },
      },
    });
    assert.equal(chosen(policy, 'quay.io/a/b'), 'default');
    assert.equal(
      chosen(policy, 'registry.access.redhat.com/ubi9'),
      'transports.docker["registry.access.redhat.com"]',
    );
  });

  it('reads any text without failing in another way than a RuntimeError', () => {
    const type = fc.constantFrom('reject', 'insecureAcceptAnything', 'sigstoreSigned', 'signedBy');
    const requirement = fc.record(
      {
        type,
        keyPath: fc.string(),
        keyDatas: fc.array(fc.string()),
        signedIdentity: fc.anything(),
      },
      { requiredKeys: ['type'] },
    );
    const document = fc.record(
      {
        default: fc.array(requirement),
        transports: fc.dictionary(
          fc.constantFrom('docker', 'oci', 'dir', 'x'),
          fc.dictionary(fc.string(), fc.array(requirement)),
        ),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(document, fc.json()), (value) => {
        const text = typeof value === 'string' ? value : JSON.stringify(value, bigints);
        try {
          parseSignaturePolicy(Buffer.from(text), 'policy.json');
        } catch (error) {
          assert(error instanceof RuntimeError, String(error));
        }
      }),
    );
  });
});

function bigints(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
