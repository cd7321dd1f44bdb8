/** The default validator's rules, one by one. */
import assert from 'node:assert/strict';
import { defaultValidator, type ValidatorRules } from '../../../src/nri/default-validator.js';
import { ContainerAdjustment } from '../../../src/nri/gen/adjustment.js';
import { Container } from '../../../src/nri/gen/container.js';
import { SecurityProfile_ProfileType as ProfileType } from '../../../src/nri/gen/linux.js';
import { PodSandbox } from '../../../src/nri/gen/pod.js';
import { Field } from '../../../src/nri/gen/validation.js';
import { Owners } from '../../../src/nri/owners.js';

const NONE: ValidatorRules = {
  rejectHooks: false,
  rejectRuntimeDefaultSeccomp: false,
  rejectUnconfinedSeccomp: false,
  rejectCustomSeccomp: false,
  requiredPlugins: [],
  toleration: '',
};

function verdict(
  rules: Partial<ValidatorRules>,
  options: {
    claims?: Field[];
    annotations?: [string, string][];
    profileType?: ProfileType;
    plugins?: string[];
  } = {},
): string | null {
  const owners = new Owners();
  for (const field of options.claims ?? []) owners.claim('c', '10-a', field);
  const profileType = options.profileType ?? ProfileType.RUNTIME_DEFAULT;
  return defaultValidator({ ...NONE, ...rules })({
    pod: PodSandbox.fromPartial({ annotations: new Map(options.annotations) }),
    container: Container.fromPartial({
      id: 'c',
      name: 'web',
      linux: { seccompProfile: { profileType } },
    }),
    adjusting: { adjustment: ContainerAdjustment.fromPartial({}) },
    owners,
    updates: [],
    plugins: (options.plugins ?? []).map((baseName) => ({ baseName, index: '10' })),
  });
}

describe('the default validator', () => {
  it('refuses hooks and seccomp policies where it is told to, naming the plugin', () => {
    assert.equal(verdict({}, { claims: [Field.OciHooks, Field.SeccompPolicy] }), null);
    assert.equal(verdict({ rejectHooks: true }), null);
    assert.match(verdict({ rejectHooks: true }, { claims: [Field.OciHooks] }) ?? '', /10-a adds/);
    for (const [rule, profileType] of [
      ['rejectRuntimeDefaultSeccomp', ProfileType.RUNTIME_DEFAULT],
      ['rejectUnconfinedSeccomp', ProfileType.UNCONFINED],
      ['rejectCustomSeccomp', ProfileType.LOCALHOST],
    ] as const) {
      const claims = [Field.SeccompPolicy];
      for (const other of [
        ProfileType.RUNTIME_DEFAULT,
        ProfileType.UNCONFINED,
        ProfileType.LOCALHOST,
      ]) {
        const refused = verdict({ [rule]: true }, { claims, profileType: other });
        assert.equal(refused !== null, other === profileType, `${rule} ${other}`);
      }
    }
  });

  it('wants plugins of the configuration and of annotations, the nearest of which counts', () => {
    const required = 'required-plugins.noderesource.dev';
    assert.match(
      verdict({ requiredPlugins: ['a', 'b'] }, { plugins: ['b'] }) ?? '',
      /connected: a$/,
    );
    assert.equal(verdict({ requiredPlugins: ['a'] }, { plugins: ['a'] }), null);
    assert.match(verdict({}, { annotations: [[required, '[x, y]']] }) ?? '', /connected: x, y$/);
    const annotations: [string, string][] = [
      [required, '- x'],
      [`${required}/container.web`, '- y'],
      [`${required}/container.db`, '- z'],
    ];
    assert.match(verdict({}, { annotations, plugins: ['x'] }) ?? '', /connected: y$/);
    for (const bad of [
      '{}',
      'x',
      '[1]',
      '[',
      `[${'&a [*a,*a],'.repeat(2)}]`,
      `[${'x,'.repeat(9000)}]`,
    ]) {
      assert.match(verdict({}, { annotations: [[required, bad]] }) ?? '', /no YAML list/, bad);
    }
  });

  it('lets a pod do without them, where there is an annotation for that', () => {
    const rules = { requiredPlugins: ['a'], toleration: 'alone' };
    assert.equal(verdict(rules, { annotations: [['alone', 'true']] }), null);
    assert.match(verdict(rules, { annotations: [['alone', 'false']] }) ?? '', /connected: a/);
    assert.match(verdict(rules, { annotations: [['alone', 'maybe']] }) ?? '', /true or false/);
    assert.match(
      verdict({ requiredPlugins: ['a'] }, { annotations: [['', 'true']] }) ?? '',
      /connected: a/,
    );
  });
});
