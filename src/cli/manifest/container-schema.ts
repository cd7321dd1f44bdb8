/** A container of a Pod manifest. */
import { z } from 'zod';
import { Signal } from '../../cri/gen/index.js';
import { absolutePath, dnsLabel, id, ipAddress, plainText, quantity, word } from './values.js';

/** Where the kubelet looks for the profiles that pods name. */
export const SECCOMP_FOLDER = '/var/lib/kubelet/seccomp';

/** A path below the kubelet's own folder of profiles: the same manifest works with both. */
const relativePath = plainText.refine(
  (text) => text !== '' && !text.startsWith('/') && !text.split('/').includes('..'),
  { error: `must be a path below ${SECCOMP_FOLDER}, without ".."` },
);
export const seccompProfile = z.strictObject({
  type: z.enum(['RuntimeDefault', 'Unconfined', 'Localhost']),
  localhostProfile: relativePath.optional(),
});
export const appArmorProfile = z.strictObject({
  type: z.enum(['RuntimeDefault', 'Unconfined', 'Localhost']),
  localhostProfile: plainText.optional(),
});

const containerSecurityContext = z.strictObject({
  runAsUser: id.optional(),
  runAsGroup: id.optional(),
  runAsNonRoot: z.boolean().optional(),
  capabilities: z
    .strictObject({ add: z.array(plainText).default([]), drop: z.array(plainText).default([]) })
    .prefault({}),
  privileged: z.boolean().default(false),
  readOnlyRootFilesystem: z.boolean().default(false),
  allowPrivilegeEscalation: z.boolean().default(true),
  procMount: z.literal('Default').optional(),
  seccompProfile: seccompProfile.optional(),
  appArmorProfile: appArmorProfile.optional(),
});

/** What a fieldRef of `pvecri run` can name. */
export const KEYED_FIELD = /^metadata\.(labels|annotations)\['([^']+)'\]$/;
export const FIELDS = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'status.podIP',
  'status.podIPs',
] as const;

/** What a resourceFieldRef can name: figures of the container's own. */
export const RESOURCE_FIELDS = [
  'limits.cpu',
  'limits.memory',
  'requests.cpu',
  'requests.memory',
] as const;

const fieldPath = z
  .string()
  .refine((text) => KEYED_FIELD.test(text) || (FIELDS as readonly string[]).includes(text), {
    error: `is not supported by pvecri run, which knows ${FIELDS.join(', ')}, metadata.labels['KEY'] and metadata.annotations['KEY']`,
  });

const envVar = z.strictObject({
  name: word.refine((text) => text !== '' && !text.includes('='), {
    error: 'must be a name without "="',
  }),
  value: word.optional(),
  valueFrom: z
    .strictObject({
      fieldRef: z.strictObject({ apiVersion: z.literal('v1').optional(), fieldPath }).optional(),
      resourceFieldRef: z
        .strictObject({
          containerName: dnsLabel.optional(),
          resource: z.enum(RESOURCE_FIELDS),
          // In thousandths, as that of CPU is given in them.
          divisor: quantity(1000n).optional(),
        })
        .optional(),
    })
    .optional(),
});

const resourceList = z
  .strictObject({
    cpu: quantity(1000n).optional(),
    memory: quantity(1n).optional(),
    'hugepages-2Mi': quantity(1n).optional(),
    'hugepages-1Gi': quantity(1n).optional(),
  })
  .prefault({});

const stopSignal = z.string().refine((text) => toSignal(text) !== undefined, {
  error: 'must be the name of a signal such as SIGTERM or SIGRTMIN+1',
});

export const container = z.strictObject({
  name: dnsLabel,
  image: plainText.min(1),
  imagePullPolicy: z.enum(['IfNotPresent', 'Always', 'Never']).default('IfNotPresent'),
  command: z.array(word).default([]),
  args: z.array(word).default([]),
  workingDir: z.union([z.literal(''), absolutePath]).default(''),
  env: z.array(envVar).default([]),
  ports: z
    .array(
      z.strictObject({
        name: dnsLabel.optional(),
        containerPort: z.int().min(1).max(65535),
        hostPort: z.int().min(0).max(65535).default(0),
        hostIP: ipAddress.optional(),
        protocol: z.enum(['TCP', 'UDP', 'SCTP']).default('TCP'),
      }),
    )
    .default([]),
  resources: z.strictObject({ limits: resourceList, requests: resourceList }).prefault({}),
  volumeMounts: z
    .array(
      z.strictObject({
        name: dnsLabel,
        mountPath: absolutePath,
        readOnly: z.boolean().default(false),
        recursiveReadOnly: z.enum(['Disabled', 'IfPossible', 'Enabled']).default('Disabled'),
        mountPropagation: z.enum(['None', 'HostToContainer', 'Bidirectional']).default('None'),
      }),
    )
    .default([]),
  securityContext: containerSecurityContext.prefault({}),
  lifecycle: z.strictObject({ stopSignal: stopSignal.optional() }).prefault({}),
  tty: z.boolean().default(false),
  stdin: z.boolean().default(false),
  stdinOnce: z.boolean().default(false),
  terminationMessagePath: absolutePath.default('/dev/termination-log'),
  // Only the kubelet reads the message, so that nobody here falls back to anything.
  terminationMessagePolicy: z.enum(['File', 'FallbackToLogsOnError']).default('File'),
});

/** An init container runs to its end before the next one; with restartPolicy Always it stays. */
export const initContainer = container.extend({ restartPolicy: z.literal('Always').optional() });

/** CRI's signal for its name in a manifest. */
export function toSignal(name: string): Signal | undefined {
  if (!/^SIG[A-Z0-9]+([+-]\d+)?$/.test(name)) return undefined;
  const key = name.replace('+', 'PLUS').replace('-', 'MINUS');
  return Object.entries(Signal).find(([known]) => known === key)?.[1];
}

export type ContainerManifest = z.infer<typeof container>;
export type SeccompProfile = z.infer<typeof seccompProfile>;
export type AppArmorProfile = z.infer<typeof appArmorProfile>;
