/** The rules an administrator can set for the adjustments of plugins, as containerd's default validator has them. */
import { parse } from 'yaml';
import { SecurityProfile_ProfileType } from './gen/linux.js';
import { Field } from './gen/validation.js';
import type { BuiltInValidator, Validation } from './validation.js';

export interface ValidatorRules {
  rejectHooks: boolean;
  rejectRuntimeDefaultSeccomp: boolean;
  rejectUnconfinedSeccomp: boolean;
  rejectCustomSeccomp: boolean;
  requiredPlugins: readonly string[];
  /** Annotation that lets a pod do without them; '' for none. */
  toleration: string;
}

/** Annotation by which a pod asks for more of them. */
const REQUIRED = 'required-plugins.noderesource.dev';
/** It is read before anything is known of who wrote it. */
const MAX_ANNOTATION = 16_384;

export function defaultValidator(rules: ValidatorRules): BuiltInValidator {
  return (validation) =>
    hooks(rules, validation) ?? seccomp(rules, validation) ?? required(rules, validation);
}

function hooks({ rejectHooks }: ValidatorRules, { owners, container }: Validation): string | null {
  const owner = owners.ownerOf(container.id, Field.OciHooks);
  if (!rejectHooks || owner === '') return null;
  return `plugin ${owner} adds OCI hooks, which nri.default_validator refuses`;
}

function seccomp(rules: ValidatorRules, { owners, container }: Validation): string | null {
  const owner = owners.ownerOf(container.id, Field.SeccompPolicy);
  if (owner === '') return null;
  const [what, refused] = {
    [SecurityProfile_ProfileType.RUNTIME_DEFAULT]: [
      'the default profile',
      rules.rejectRuntimeDefaultSeccomp,
    ] as const,
    [SecurityProfile_ProfileType.UNCONFINED]: ['none', rules.rejectUnconfinedSeccomp] as const,
    [SecurityProfile_ProfileType.LOCALHOST]: ['a profile file', rules.rejectCustomSeccomp] as const,
    [SecurityProfile_ProfileType.UNRECOGNIZED]: ['an unknown profile', true] as const,
  }[container.linux?.seccompProfile?.profileType ?? SecurityProfile_ProfileType.UNCONFINED];
  if (!refused) return null;
  return `plugin ${owner} sets a seccomp policy in place of ${what}, which nri.default_validator refuses`;
}

function required(rules: ValidatorRules, validation: Validation): string | null {
  const { toleration, requiredPlugins } = rules;
  if (toleration !== '') {
    const value = effectiveAnnotation(validation, toleration);
    if (value !== undefined && /^(1|t|true)$/i.test(value)) return null;
    if (value !== undefined && !/^(0|f|false)$/i.test(value)) {
      return `annotation ${toleration} is ${JSON.stringify(value.slice(0, 80))}: expected true or false`;
    }
  }
  const asked = effectiveAnnotation(validation, REQUIRED);
  const more = asked === undefined ? [] : parseNames(asked);
  if (more === null) return `annotation ${REQUIRED} is no YAML list of names`;
  const present = new Set(validation.plugins.map(({ baseName }) => baseName));
  const missing = [...requiredPlugins, ...more].filter((name) => !present.has(name));
  return missing.length === 0 ? null : `required plugins are not connected: ${missing.join(', ')}`;
}

/** What is said of the container stands above what is said of the pod. */
function effectiveAnnotation({ pod, container }: Validation, key: string): string | undefined {
  const { annotations } = pod;
  return (
    annotations.get(`${key}/container.${container.name}`) ??
    annotations.get(`${key}/pod`) ??
    annotations.get(key)
  );
}

function parseNames(text: string): string[] | null {
  if (text.length > MAX_ANNOTATION) return null;
  try {
    const list: unknown = parse(text, { maxAliasCount: 0 });
    if (list === null) return [];
    return Array.isArray(list) && list.every((name) => typeof name === 'string') ? list : null;
  } catch {
    return null;
  }
}
