/** The part of a Kubernetes Pod (v1) that `pvecri run` acts on. What it does not know is refused. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { hasControlCharacter } from '../../util/control-characters.js';
import { parseQuantity } from './quantity.js';

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const QUALIFIED_NAME = /^([a-z0-9][-a-z0-9.]{0,252}\/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?$/;

const dnsLabel = z.string().regex(DNS_LABEL, {
  error: 'must be a DNS label: lower-case letters, digits and "-", at most 63 characters',
});
const plainText = z
  .string()
  .refine((text) => !hasControlCharacter(text), { error: 'must not contain control characters' });
/** execve takes any byte but NUL. */
const word = z
  .string()
  .refine((text) => !text.includes('\0'), { error: 'must not contain a NUL character' });
const absolutePath = plainText.refine(
  (text) => text.startsWith('/') && !text.split('/').includes('..'),
  { error: 'must be an absolute path without ".."' },
);
const id = z.int().min(0).max(4294967294);
const ipAddress = z.string().refine((text) => isIP(text) !== 0, { error: 'must be an IP address' });

function quantity(unitsPerOne: bigint): z.ZodType<bigint> {
  // Kubernetes takes a bare number as well: `cpu: 2`.
  return z.union([z.string(), z.number().transform(String)]).transform((text, context) => {
    const value = parseQuantity(text, unitsPerOne);
    if (value !== undefined && value < 1n << 63n) return value;
    context.issues.push({
      code: 'custom',
      message: 'must be a quantity such as 500m, 2, 64Mi or 1G',
      input: text,
    });
    return z.NEVER;
  });
}

/** A map kept as pairs: order stays, and no key is special. */
function pairs(value: RegExp | null): z.ZodType<[string, string][]> {
  return z
    .custom<Record<string, unknown>>(isPlainObject, { error: 'must be a mapping' })
    .transform((object, context) => {
      const list: [string, string][] = [];
      for (const [key, item] of Object.entries(object)) {
        const problem = pairProblem(key, item, value);
        if (problem === undefined) list.push([key, String(item)]);
        else context.issues.push({ code: 'custom', message: problem, input: item, path: [key] });
      }
      return list;
    });
}

function pairProblem(key: string, item: unknown, value: RegExp | null): string | undefined {
  if (!QUALIFIED_NAME.test(key))
    return 'has a key that is no qualified name such as example.org/name';
  if (typeof item !== 'string') return 'must be a string; put it in quotes';
  if (value?.test(item) === false) {
    return 'must be a label value: letters, digits, "-", "_" and ".", at most 63 characters';
  }
  return undefined;
}

function isPlainObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const seccompProfile = z.strictObject({ type: z.enum(['RuntimeDefault', 'Unconfined']) });
const appArmorProfile = z.strictObject({
  type: z.enum(['RuntimeDefault', 'Unconfined', 'Localhost']),
  localhostProfile: plainText.optional(),
});

const podSecurityContext = z.strictObject({
  runAsUser: id.optional(),
  runAsGroup: id.optional(),
  runAsNonRoot: z.boolean().optional(),
  supplementalGroups: z.array(id).default([]),
  supplementalGroupsPolicy: z.enum(['Merge', 'Strict']).default('Merge'),
  sysctls: z.array(z.strictObject({ name: plainText, value: plainText })).default([]),
  seccompProfile: seccompProfile.optional(),
  appArmorProfile: appArmorProfile.optional(),
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
      fieldRef: z.strictObject({ apiVersion: z.literal('v1').optional(), fieldPath }),
    })
    .optional(),
});

const resourceList = z
  .strictObject({ cpu: quantity(1000n).optional(), memory: quantity(1n).optional() })
  .prefault({});

const container = z.strictObject({
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
        mountPropagation: z.enum(['None', 'HostToContainer', 'Bidirectional']).default('None'),
      }),
    )
    .default([]),
  securityContext: containerSecurityContext.prefault({}),
  tty: z.boolean().default(false),
  stdin: z.boolean().default(false),
  stdinOnce: z.boolean().default(false),
  terminationMessagePath: absolutePath.default('/dev/termination-log'),
  // Only the kubelet reads the message, so that nobody here falls back to anything.
  terminationMessagePolicy: z.enum(['File', 'FallbackToLogsOnError']).default('File'),
});

const volume = z.strictObject({
  name: dnsLabel,
  hostPath: z
    .strictObject({
      path: absolutePath,
      type: z
        .enum([
          '',
          'DirectoryOrCreate',
          'Directory',
          'FileOrCreate',
          'File',
          'Socket',
          'CharDevice',
          'BlockDevice',
        ])
        .default(''),
    })
    .optional(),
  emptyDir: z.strictObject({ medium: z.literal('').optional() }).optional(),
});

const ignored = z.unknown().optional();

export const podSchema = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Pod'),
  metadata: z.strictObject({
    name: z.string().regex(DNS_SUBDOMAIN, {
      error: 'must be a DNS name: lower-case letters, digits, "-" and ".", at most 253 characters',
    }),
    namespace: dnsLabel.default('default'),
    labels: pairs(LABEL_VALUE).default([]),
    annotations: pairs(null).default([]),
    // What `kubectl get -o yaml` adds; it says nothing about how to run the pod.
    uid: ignored,
    creationTimestamp: ignored,
    resourceVersion: ignored,
    generation: ignored,
    managedFields: ignored,
    ownerReferences: ignored,
    generateName: ignored,
    selfLink: ignored,
  }),
  spec: z.strictObject({
    containers: z.array(container).min(1),
    volumes: z.array(volume).default([]),
    restartPolicy: z.enum(['Always', 'OnFailure', 'Never']).default('Always'),
    terminationGracePeriodSeconds: z.int().min(0).max(86400).default(30),
    hostNetwork: z.boolean().default(false),
    hostPID: z.boolean().default(false),
    hostIPC: z.boolean().default(false),
    shareProcessNamespace: z.boolean().default(false),
    hostname: dnsLabel.optional(),
    hostAliases: z
      .array(z.strictObject({ ip: ipAddress, hostnames: z.array(plainText.min(1)).min(1) }))
      .default([]),
    dnsPolicy: z
      .enum(['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'])
      .default('ClusterFirst'),
    dnsConfig: z
      .strictObject({
        nameservers: z.array(ipAddress).default([]),
        searches: z.array(plainText).default([]),
        options: z
          .array(z.strictObject({ name: plainText.min(1), value: plainText.optional() }))
          .default([]),
      })
      .prefault({}),
    securityContext: podSecurityContext.prefault({}),
    // A token is never mounted; asking for none is what happens anyway.
    automountServiceAccountToken: z.literal(false).optional(),
    hostUsers: z.literal(true).optional(),
    os: z.strictObject({ name: z.literal('linux') }).optional(),
    // What a cluster needs to place a pod; see IGNORED_FIELDS.
    affinity: ignored,
    enableServiceLinks: ignored,
    nodeName: ignored,
    nodeSelector: ignored,
    preemptionPolicy: ignored,
    priority: ignored,
    priorityClassName: ignored,
    schedulerName: ignored,
    serviceAccount: ignored,
    serviceAccountName: ignored,
    tolerations: ignored,
    topologySpreadConstraints: ignored,
  }),
  status: ignored,
});

export type PodManifest = z.infer<typeof podSchema>;
export type PodSpec = PodManifest['spec'];
export type ContainerManifest = PodSpec['containers'][number];
export type SeccompProfile = z.infer<typeof seccompProfile>;
export type AppArmorProfile = z.infer<typeof appArmorProfile>;

/** Accepted without effect, and worth a note when given. */
export const IGNORED_FIELDS: Readonly<Record<string, string>> = {
  affinity: 'the pod runs on this node',
  nodeName: 'the pod runs on this node',
  nodeSelector: 'the pod runs on this node',
  preemptionPolicy: 'no scheduler is involved',
  priority: 'no scheduler is involved',
  priorityClassName: 'no scheduler is involved',
  schedulerName: 'no scheduler is involved',
  serviceAccount: 'no token is mounted',
  serviceAccountName: 'no token is mounted',
  tolerations: 'no scheduler is involved',
  topologySpreadConstraints: 'no scheduler is involved',
};

/** Fields of a Pod, at any level, that exist in Kubernetes and are refused by name. */
export const UNSUPPORTED_FIELDS: ReadonlySet<string> = new Set(
  `activeDeadlineSeconds awsElasticBlockStore azureDisk azureFile cephfs cinder claims configMap
  configMapKeyRef configMapRef csi devicePath divisor downwardAPI envFrom ephemeral
  ephemeral-storage ephemeralContainers fc fileKeyRef flexVolume flocker fsGroup
  fsGroupChangePolicy gcePersistentDisk gitRepo glusterfs gmsaCredentialSpec hostnameOverride image
  imagePullSecrets initContainers iscsi lifecycle livenessProbe localhostProfile nfs overhead
  persistentVolumeClaim photonPersistentDisk portworxVolume prefix projected quobyte rbd
  readinessGates readinessProbe recursiveReadOnly resizePolicy resourceClaims resourceFieldRef
  resources restartPolicy restartPolicyRules runtimeClassName scaleIO schedulingGates seLinuxChangePolicy
  seLinuxOptions secret secretKeyRef secretRef setHostnameAsFQDN sizeLimit startupProbe storageos
  subPath subPathExpr subdomain volumeDevices vsphereVolume windowsOptions workloadRef`.split(
    /\s+/,
  ),
);
