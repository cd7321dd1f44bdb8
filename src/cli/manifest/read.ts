/** YAML text to a checked Pod manifest; every problem is told at once, by its field path. */
import { isScalar, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { nearest } from '../../util/nearest.js';
import { usage } from '../failure.js';
import { IGNORED_FIELDS, UNSUPPORTED_FIELDS, everyContainer, podSchema } from './schema.js';
import type { PodManifest } from './schema.js';

export interface ReadManifest {
  pod: PodManifest;
  /** What was accepted and will have no effect. */
  notes: string[];
}

/** `source` names the text in messages: a file name, or `standard input`. */
export function readManifest(text: string, source: string): ReadManifest {
  const document = parseYaml(text, source);
  const { apiVersion, kind } = asRecord(document);
  if (apiVersion !== 'v1' || kind !== 'Pod') {
    throw usage(
      `${source}: expected one Pod (apiVersion: v1, kind: Pod), found ${describeKind(apiVersion, kind)}`,
    );
  }
  const result = podSchema.safeParse(withoutNulls(document), { reportInput: true });
  const problems = result.success
    ? crossChecks(result.data)
    : result.error.issues.flatMap((issue) => explain(issue));
  if (!result.success || problems.length > 0) {
    throw usage(`${source}: ${[...new Set(problems)].join('; ')}`);
  }
  return { pod: result.data, notes: notesOn(result.data) };
}

function parseYaml(text: string, source: string): unknown {
  // An empty document, as after a closing `---`, is no document.
  const documents = parseAllDocuments(text).filter(
    ({ errors, contents }) =>
      errors.length > 0 || !(contents === null || (isScalar(contents) && contents.value === null)),
  );
  const [document] = documents;
  if (document === undefined) throw usage(`${source}: holds no document: expected one Pod`);
  const [error] = document.errors;
  if (error !== undefined) {
    throw usage(`${source}: not YAML: ${(error.message.split('\n')[0] ?? '').replace(/:$/, '')}`);
  }
  if (documents.length > 1) {
    throw usage(
      `${source}: holds ${documents.length} documents: pvecri run takes one pod at a time`,
    );
  }
  try {
    return document.toJS();
  } catch (failure) {
    // Aliases that multiply beyond measure end here.
    throw usage(`${source}: not YAML: ${failure instanceof Error ? failure.message : ''}`);
  }
}

function describeKind(apiVersion: unknown, kind: unknown): string {
  if (kind === undefined) return 'no kind';
  return `apiVersion: ${JSON.stringify(apiVersion)}, kind: ${JSON.stringify(kind)}`;
}

/** Kubernetes takes `labels:` with nothing behind it for an absent field. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  // fromEntries defines the keys, so that one named __proto__ stays a key.
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, item]) =>
      item === null ? [] : [[key, withoutNulls(item)] as const],
    ),
  );
}

function explain(issue: z.core.$ZodIssue): string[] {
  const at = fieldPath(issue.path);
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownField(issue.path, key));
    case 'invalid_type':
      if (issue.input === undefined) return [`${at} is required`];
      return [`${at} must be ${article(issue.expected)}${quoteHint(issue.expected, issue.input)}`];
    case 'invalid_value':
      if (issue.input === undefined) return [`${at} is required`];
      return [
        `${at} is ${short(issue.input)}, and pvecri run supports ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`,
      ];
    case 'invalid_union':
      return [`${at} must be a string or a number that is valid there`];
    case 'too_small':
      return [
        `${at} must ${issue.origin === 'number' || issue.origin === 'int' ? `be at least ${issue.minimum}` : 'not be empty'}`,
      ];
    case 'too_big':
      return [`${at} must be at most ${issue.maximum}`];
    default:
      return [`${at} ${issue.message}`];
  }
}

function unknownField(parent: readonly PropertyKey[], key: string): string {
  const at = fieldPath([...parent, key]);
  // Extended resources and huge pages are named freely: nvidia.com/gpu, hugepages-2Mi.
  const isResource = parent.includes('resources') && /\/|^hugepages-/.test(key);
  if (isResource || UNSUPPORTED_FIELDS.has(key)) return `${at} is not supported by pvecri run`;
  const meant = nearest(key, fieldsAt(parent));
  return `${at} is not a field of a Pod${meant === undefined ? '' : `; did you mean ${meant}?`}`;
}

/** Names the schema knows at a place. */
function fieldsAt(path: readonly PropertyKey[]): string[] {
  let schema: z.core.$ZodType = podSchema;
  for (const part of path) {
    const inner = unwrapped(schema);
    if (inner instanceof z.ZodArray) schema = inner.element;
    else if (inner instanceof z.ZodObject) {
      const shape = inner.shape as Readonly<Record<string, z.core.$ZodType>>;
      schema = shape[String(part)] ?? z.never();
    }
  }
  const inner = unwrapped(schema);
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
}

function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  let inner = schema;
  while (
    inner instanceof z.ZodOptional ||
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodPrefault
  ) {
    inner = inner.unwrap();
  }
  return inner;
}

/** What no single field can tell. */
function crossChecks(pod: PodManifest): string[] {
  const { spec } = pod;
  const containers = everyContainer(spec);
  const problems = duplicates(
    containers.map(({ container, at }) => ({ name: container.name, at })),
  );
  problems.push(
    ...duplicates(spec.volumes.map(({ name }, index) => ({ name, at: `spec.volumes[${index}]` }))),
  );
  spec.volumes.forEach((volume, index) => {
    if ((volume.hostPath === undefined) === (volume.emptyDir === undefined)) {
      problems.push(`spec.volumes[${index}] must have one of hostPath and emptyDir`);
    }
  });
  if (spec.hostPID && spec.shareProcessNamespace) {
    problems.push('spec.hostPID and spec.shareProcessNamespace exclude each other');
  }
  if (spec.dnsPolicy === 'None' && spec.dnsConfig.nameservers.length === 0) {
    problems.push('spec.dnsConfig.nameservers must name a server when spec.dnsPolicy is "None"');
  }
  const volumes = new Set(spec.volumes.map(({ name }) => name));
  for (const { container, at } of containers) {
    container.volumeMounts.forEach((mount, position) => {
      const path = `${at}.volumeMounts[${position}]`;
      if (!volumes.has(mount.name)) {
        problems.push(`${path}.name is ${JSON.stringify(mount.name)}, and no volume has that name`);
      }
      if (mount.mountPropagation === 'Bidirectional' && !container.securityContext.privileged) {
        problems.push(
          `${path}.mountPropagation is "Bidirectional", which needs a privileged container`,
        );
      }
      if (
        mount.recursiveReadOnly !== 'Disabled' &&
        (!mount.readOnly || mount.mountPropagation !== 'None')
      ) {
        problems.push(`${path}.recursiveReadOnly needs readOnly: true and mountPropagation: None`);
      }
    });
    container.env.forEach((variable, position) => {
      if (variable.value !== undefined && variable.valueFrom !== undefined) {
        problems.push(`${at}.env[${position}] has both value and valueFrom`);
      }
      problems.push(...referenceProblems(variable, container.name, `${at}.env[${position}]`));
    });
    const { privileged, allowPrivilegeEscalation } = container.securityContext;
    if (privileged && !allowPrivilegeEscalation) {
      problems.push(
        `${at}.securityContext.allowPrivilegeEscalation must not be false for a privileged container`,
      );
    }
    problems.push(...profileProblems(container.securityContext, `${at}.securityContext`));
  }
  problems.push(...profileProblems(spec.securityContext, 'spec.securityContext'));
  if (spec.hostNetwork && spec.hostnameOverride !== undefined) {
    problems.push('spec.hostNetwork and spec.hostnameOverride exclude each other');
  }
  return problems;
}

type EnvVar = PodManifest['spec']['containers'][number]['env'][number];

function referenceProblems({ valueFrom }: EnvVar, container: string, at: string): string[] {
  if (valueFrom === undefined) return [];
  const { fieldRef, resourceFieldRef } = valueFrom;
  if ((fieldRef === undefined) === (resourceFieldRef === undefined)) {
    return [`${at}.valueFrom must have one of fieldRef and resourceFieldRef`];
  }
  const other = resourceFieldRef?.containerName ?? container;
  if (other === container) return [];
  return [
    `${at}.valueFrom.resourceFieldRef.containerName is "${other}", and pvecri run supports the container's own figures alone`,
  ];
}

type Profiles = Pick<PodManifest['spec']['securityContext'], 'seccompProfile' | 'appArmorProfile'>;

function profileProblems(context: Profiles, at: string): string[] {
  return (['seccompProfile', 'appArmorProfile'] as const).flatMap((field) => {
    const profile = context[field];
    if (profile === undefined) return [];
    if ((profile.type === 'Localhost') === (profile.localhostProfile !== undefined)) return [];
    return [`${at}.${field}.localhostProfile must be given with type "Localhost", and only then`];
  });
}

function duplicates(list: readonly { name: string; at: string }[]): string[] {
  const seen = new Set<string>();
  return list.flatMap(({ name, at }) => {
    if (seen.has(name)) return [`${at}.name ${JSON.stringify(name)} is used twice`];
    seen.add(name);
    return [];
  });
}

function notesOn(pod: PodManifest): string[] {
  const spec = pod.spec as Readonly<Record<string, unknown>>;
  const notes = Object.entries(IGNORED_FIELDS).flatMap(([field, why]) =>
    spec[field] === undefined ? [] : [`spec.${field} is ignored: ${why}`],
  );
  if (pod.spec.restartPolicy !== 'Never') {
    notes.push(
      `spec.restartPolicy ${pod.spec.restartPolicy} has no effect: nobody restarts the containers`,
    );
  }
  return notes;
}

function fieldPath(path: readonly PropertyKey[]): string {
  const text = path
    .map((part) => {
      if (typeof part === 'number') return `[${part}]`;
      const name = String(part);
      return /^[A-Za-z_]\w*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`;
    })
    .join('');
  return text === '' ? 'the document' : text.replace(/^\./, '');
}

function article(expected: string): string {
  const names: Readonly<Record<string, string>> = {
    array: 'a list',
    boolean: 'true or false',
    int: 'a whole number',
    number: 'a number',
    object: 'a mapping',
    record: 'a mapping',
    string: 'a string',
  };
  return names[expected] ?? expected;
}

function quoteHint(expected: string, input: unknown): string {
  const isScalar = typeof input === 'number' || typeof input === 'boolean';
  return expected === 'string' && isScalar ? `; write "${String(input)}" in quotes` : '';
}

function short(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= 60 ? text : `${text.slice(0, 60)}…`;
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
