/** The part of a Kubernetes Pod (v1) that `pvecri run` acts on. What it does not know is refused. */
import { z } from 'zod';
import { appArmorProfile, container, initContainer, seccompProfile } from './container-schema.js';
import type { ContainerManifest } from './container-schema.js';
import {
  DNS_SUBDOMAIN,
  LABEL_VALUE,
  dnsLabel,
  id,
  ipAddress,
  absolutePath,
  pairs,
  plainText,
} from './values.js';

const podSecurityContext = z.strictObject({
  runAsUser: id.optional(),
  runAsGroup: id.optional(),
  runAsNonRoot: z.boolean().optional(),
  fsGroup: id.optional(),
  // All that it could make different are volumes that pvecri run does not have.
  fsGroupChangePolicy: z.enum(['Always', 'OnRootMismatch']).optional(),
  supplementalGroups: z.array(id).default([]),
  supplementalGroupsPolicy: z.enum(['Merge', 'Strict']).default('Merge'),
  sysctls: z.array(z.strictObject({ name: plainText, value: plainText })).default([]),
  seccompProfile: seccompProfile.optional(),
  appArmorProfile: appArmorProfile.optional(),
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
    initContainers: z.array(initContainer).default([]),
    containers: z.array(container).min(1),
    volumes: z.array(volume).default([]),
    restartPolicy: z.enum(['Always', 'OnFailure', 'Never']).default('Always'),
    terminationGracePeriodSeconds: z.int().min(0).max(86400).default(30),
    hostNetwork: z.boolean().default(false),
    hostPID: z.boolean().default(false),
    hostIPC: z.boolean().default(false),
    shareProcessNamespace: z.boolean().default(false),
    hostname: dnsLabel.optional(),
    hostnameOverride: z
      .string()
      .regex(DNS_SUBDOMAIN, { error: 'must be a DNS name' })
      .max(64)
      .optional(),
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
export type InitContainerManifest = PodSpec['initContainers'][number];

/** All containers in the order in which they start, each with the path of its field. */
export function everyContainer(spec: PodSpec): { container: ContainerManifest; at: string }[] {
  return (['initContainers', 'containers'] as const).flatMap((field) =>
    spec[field].map((container, index) => ({ container, at: `spec.${field}[${index}]` })),
  );
}

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
  configMapKeyRef configMapRef csi devicePath downwardAPI envFrom ephemeral ephemeral-storage
  ephemeralContainers fc fileKeyRef flexVolume flocker gcePersistentDisk gitRepo glusterfs
  gmsaCredentialSpec image imagePullSecrets iscsi livenessProbe nfs overhead persistentVolumeClaim
  photonPersistentDisk portworxVolume postStart prefix preStop projected quobyte rbd
  readinessGates readinessProbe resizePolicy resourceClaims resources restartPolicy
  restartPolicyRules runtimeClassName scaleIO schedulingGates secret secretKeyRef secretRef
  seLinuxChangePolicy seLinuxOptions setHostnameAsFQDN sizeLimit startupProbe storageos subdomain
  subPath subPathExpr volumeDevices vsphereVolume windowsOptions workloadRef`.split(/\s+/),
);
