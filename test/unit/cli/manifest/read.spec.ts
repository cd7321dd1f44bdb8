/** Pod manifests: what is taken, and what is refused by the name of its field. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { CommandFailure } from '../../../../src/cli/failure.js';
import { readManifest } from '../../../../src/cli/manifest/read.js';

type Fields = Record<string, unknown>;

function pod(spec: Fields = {}, container: Fields = {}, metadata: Fields = {}): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', ...metadata },
    spec: { containers: [{ name: 'main', image: 'busybox', ...container }], ...spec },
  });
}

function refusal(text: string): string {
  try {
    readManifest(text, 'pod.yaml');
  } catch (error) {
    assert.ok(error instanceof CommandFailure, String(error));
    assert.equal(error.kind, 'usage');
    return error.message;
  }
  assert.fail('accepted');
}

describe('readManifest', () => {
  it('fills in the defaults of Kubernetes', () => {
    const { pod: read, notes } = readManifest(pod(), 'pod.yaml');
    assert.deepEqual(notes, [
      'spec.restartPolicy Always has no effect: nobody restarts the containers',
    ]);
    assert.equal(read.metadata.namespace, 'default');
    assert.equal(read.spec.terminationGracePeriodSeconds, 30);
    assert.equal(read.spec.containers[0]?.imagePullPolicy, 'IfNotPresent');
    assert.equal(read.spec.containers[0].terminationMessagePath, '/dev/termination-log');
    assert.equal(read.spec.containers[0].securityContext.allowPrivilegeEscalation, true);
  });

  it('takes empty fields for absent ones, also inside lists of mappings', () => {
    const { pod: read } = readManifest(
      pod({ volumes: null }, { env: null, command: null }, { labels: null, namespace: null }),
      'pod.yaml',
    );
    assert.deepEqual(read.spec.volumes, []);
    assert.equal(read.metadata.namespace, 'default');
  });

  it('keeps labels and annotations in order and byte for byte', () => {
    const annotations = { 'b/x': ' two\nlines\t', a: '', z: 'ü' };
    const { pod: read } = readManifest(pod({}, {}, { annotations }), 'pod.yaml');
    assert.deepEqual(read.metadata.annotations, Object.entries(annotations));
  });

  it('takes what kubectl get -o yaml adds', () => {
    const metadata = { uid: 'x', creationTimestamp: '2026-01-01T00:00:00Z', managedFields: [{}] };
    const text = pod({ restartPolicy: 'Never' }, {}, metadata);
    assert.deepEqual(readManifest(text, 'pod.yaml').notes, []);
  });

  it('notes what it ignores', () => {
    const spec = { nodeSelector: { disk: 'ssd' }, restartPolicy: 'Never' };
    const { notes } = readManifest(pod(spec, { resources: { limits: { cpu: 1 } } }), 'pod.yaml');
    assert.deepEqual(notes, ['spec.nodeSelector is ignored: the pod runs on this node']);
  });

  const refused: [string, string, string][] = [
    [
      'a probe',
      pod({}, { livenessProbe: {} }),
      'spec.containers[0].livenessProbe is not supported by pvecri run',
    ],
    [
      'a name that an init container has',
      pod({ initContainers: [{ name: 'main', image: 'x' }] }),
      'spec.containers[0].name "main" is used twice',
    ],
    [
      'a restart policy of an ordinary container',
      pod({}, { restartPolicy: 'Always' }),
      'spec.containers[0].restartPolicy is not supported by pvecri run',
    ],
    [
      'a hook',
      pod({}, { lifecycle: { preStop: { exec: { command: ['x'] } } } }),
      'spec.containers[0].lifecycle.preStop is not supported by pvecri run',
    ],
    [
      'an unknown signal',
      pod({}, { lifecycle: { stopSignal: 'SIGNOPE' } }),
      'spec.containers[0].lifecycle.stopSignal must be the name of a signal',
    ],
    [
      'a seccomp file outside its folder',
      pod({
        securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: '../x.json' } },
      }),
      'spec.securityContext.seccompProfile.localhostProfile must be a path below',
    ],
    [
      'a seccomp file that is not named',
      pod({}, { securityContext: { seccompProfile: { type: 'Localhost' } } }),
      'spec.containers[0].securityContext.seccompProfile.localhostProfile must be given',
    ],
    [
      'recursive read-only of a mount that can be written',
      pod(
        { volumes: [{ name: 'a', emptyDir: {} }] },
        { volumeMounts: [{ name: 'a', mountPath: '/d', recursiveReadOnly: 'Enabled' }] },
      ),
      'spec.containers[0].volumeMounts[0].recursiveReadOnly needs readOnly: true',
    ],
    [
      'a figure of another container',
      pod(
        {},
        {
          env: [
            {
              name: 'A',
              valueFrom: { resourceFieldRef: { containerName: 'b', resource: 'limits.cpu' } },
            },
          ],
        },
      ),
      'spec.containers[0].env[0].valueFrom.resourceFieldRef.containerName is "b"',
    ],
    [
      'a reference to two things',
      pod(
        {},
        {
          env: [
            {
              name: 'A',
              valueFrom: {
                fieldRef: { fieldPath: 'metadata.name' },
                resourceFieldRef: { resource: 'limits.cpu' },
              },
            },
          ],
        },
      ),
      'spec.containers[0].env[0].valueFrom must have one of fieldRef and resourceFieldRef',
    ],
    [
      'a name of its own on the host network',
      pod({ hostNetwork: true, hostnameOverride: 'x' }),
      'spec.hostNetwork and spec.hostnameOverride exclude each other',
    ],
    [
      'a misspelt field',
      pod({}, { imagee: 'x' }),
      'spec.containers[0].imagee is not a field of a Pod; did you mean image?',
    ],
    ['an unknown field', pod({ zzzzzzzzzzzzz: 1 }), 'spec.zzzzzzzzzzzzz is not a field of a Pod'],
    [
      'a configMap volume',
      pod({ volumes: [{ name: 'a', configMap: {} }] }),
      'spec.volumes[0].configMap is not supported by pvecri run',
    ],
    [
      'an emptyDir in memory',
      pod({ volumes: [{ name: 'a', emptyDir: { medium: 'Memory' } }] }),
      'spec.volumes[0].emptyDir.medium is "Memory"',
    ],
    [
      'a volume of no kind',
      pod({ volumes: [{ name: 'a' }] }),
      'spec.volumes[0] must have one of hostPath and emptyDir',
    ],
    [
      'a secret in env',
      pod({}, { env: [{ name: 'A', valueFrom: { secretKeyRef: {} } }] }),
      'spec.containers[0].env[0].valueFrom.secretKeyRef is not supported by pvecri run',
    ],
    [
      'an unknown fieldRef',
      pod({}, { env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } }] }),
      'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath is not supported by pvecri run',
    ],
    [
      'a number for a string',
      pod({}, { env: [{ name: 'A', value: 80 }] }),
      'spec.containers[0].env[0].value must be a string; write "80" in quotes',
    ],
    [
      'a label that is a number',
      pod({}, {}, { labels: { a: 1 } }),
      'metadata.labels.a must be a string; put it in quotes',
    ],
    [
      'a label key of a prototype',
      pod({}, {}, { labels: JSON.parse('{"__proto__":"x"}') as Fields }),
      'metadata.labels.__proto__ has a key that is no qualified name',
    ],
    [
      'a bad quantity',
      pod({}, { resources: { limits: { cpu: '2x' } } }),
      'spec.containers[0].resources.limits.cpu must be a quantity',
    ],
    [
      'a device resource',
      pod({}, { resources: { limits: { 'nvidia.com/gpu': 1 } } }),
      'spec.containers[0].resources.limits["nvidia.com/gpu"] is not supported by pvecri run',
    ],
    ['no image', pod({}, { image: undefined }), 'spec.containers[0].image is required'],
    ['no containers', pod({ containers: [] }), 'spec.containers must not be empty'],
    ['a bad name', pod({}, {}, { name: '../etc' }), 'metadata.name must be a DNS name'],
    ['a name with a newline', pod({}, {}, { name: 'web\n' }), 'metadata.name must be a DNS name'],
    [
      'a bad namespace',
      pod({}, {}, { namespace: 'a_b' }),
      'metadata.namespace must be a DNS label',
    ],
    [
      'an argument with NUL',
      pod({}, { args: ['a\0b'] }),
      'spec.containers[0].args[0] must not contain a NUL character',
    ],
    [
      'a mount path that climbs',
      pod(
        { volumes: [{ name: 'a', emptyDir: {} }] },
        { volumeMounts: [{ name: 'a', mountPath: '/a/../b' }] },
      ),
      'spec.containers[0].volumeMounts[0].mountPath must be an absolute path without ".."',
    ],
    [
      'a host path with a newline',
      pod({ volumes: [{ name: 'a', hostPath: { path: '/a\nb' } }] }),
      'spec.volumes[0].hostPath.path must not contain control characters',
    ],
    [
      'a mount of no volume',
      pod({}, { volumeMounts: [{ name: 'data', mountPath: '/d' }] }),
      'spec.containers[0].volumeMounts[0].name is "data", and no volume has that name',
    ],
    [
      'two containers of one name',
      pod({
        containers: [
          { name: 'a', image: 'x' },
          { name: 'a', image: 'y' },
        ],
      }),
      'spec.containers[1].name "a" is used twice',
    ],
    [
      'Bidirectional without privilege',
      pod(
        { volumes: [{ name: 'a', emptyDir: {} }] },
        { volumeMounts: [{ name: 'a', mountPath: '/d', mountPropagation: 'Bidirectional' }] },
      ),
      'needs a privileged container',
    ],
    [
      'hostUsers false',
      pod({ hostUsers: false }),
      'spec.hostUsers is false, and pvecri run supports true',
    ],
    [
      'a Deployment',
      'apiVersion: apps/v1\nkind: Deployment\n',
      'expected one Pod (apiVersion: v1, kind: Pod), found apiVersion: "apps/v1", kind: "Deployment"',
    ],
    ['two documents', `${pod()}---\n${pod()}`, 'holds 2 documents'],
    ['nothing', '---\n', 'holds no document'],
    ['no YAML', 'a: [', 'not YAML'],
    [
      'a key given twice',
      'apiVersion: v1\nkind: Pod\nkind: Pod\n',
      'not YAML: Map keys must be unique',
    ],
    [
      'aliases beyond measure',
      `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefghi'
        .split('')
        .map((key, at) => `${key}: &${key} [${Array(9).fill(`*${'abcdefgh'[at]}`).join(',')}]\n`)
        .join('')}`,
      'not YAML',
    ],
  ];
  for (const [what, text, message] of refused) {
    it(`refuses ${what}`, () => {
      const told = refusal(text);
      assert.ok(told.includes(message), told);
      assert.ok(told.startsWith('pod.yaml: '), told);
    });
  }

  it('takes every manifest in examples/, without a word', () => {
    const files = readdirSync('examples').filter((name) => name.endsWith('.yaml'));
    assert.ok(files.length > 0);
    for (const name of files) {
      const { notes } = readManifest(readFileSync(join('examples', name), 'utf8'), name);
      assert.deepEqual(notes, []);
    }
  });

  it('tells every problem at once', () => {
    const told = refusal(pod({ imagePullSecrets: [] }, { image: 7, readinessProbe: {} }));
    assert.ok(told.includes('spec.containers[0].image must be a string'));
    assert.ok(told.includes('spec.containers[0].readinessProbe is not supported'));
    assert.ok(told.includes('spec.imagePullSecrets is not supported'));
  });

  it('answers any document with a failure of usage or a pod', () => {
    fc.assert(
      fc.property(fc.object(), fc.object({ maxDepth: 3 }), (spec, container) => {
        try {
          readManifest(pod(spec, container), 'pod.yaml');
        } catch (error) {
          assert.ok(error instanceof CommandFailure && error.kind === 'usage', String(error));
          assert.doesNotMatch(error.message, /undefined|\[object/);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('answers any text with a failure of usage', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from('ab:-[]{}&*!#|> \n\'"')) }),
        (text) => {
          refusal(text);
        },
      ),
    );
  });
});
