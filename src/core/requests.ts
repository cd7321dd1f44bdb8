/** What a caller asks for, free of wire types: cri/ builds these, the verbs of runtime/ take them. */
import type {
  BindMount,
  ContainerMetadata,
  DeviceNode,
  DnsConfig,
  Hooks,
  NamespaceModes,
  Pairs,
  PortMapping,
  Resources,
  SandboxMetadata,
  SecurityProfile,
  UserNamespace,
} from './model.js';

export interface SandboxRequest {
  metadata: SandboxMetadata;
  hostname: string;
  logDirectory: string;
  dns: DnsConfig | null;
  portMappings: PortMapping[];
  labels: Pairs;
  annotations: Pairs;
  /** '' for a cgroup of our own. */
  cgroupParent: string;
  namespaces: NamespaceModes;
  userNamespace: UserNamespace | null;
  sysctls: Pairs;
  privileged: boolean;
  runtimeHandler: string;
  overhead: Resources | null;
  resources: Resources | null;
}

export interface ContainerRequest {
  sandboxId: string;
  metadata: ContainerMetadata;
  image: string;
  userSpecifiedImage: string;
  command: string[];
  args: string[];
  workingDir: string;
  env: Pairs;
  devices: DeviceRequest[];
  /** `VENDOR/CLASS=NAME`. */
  cdiDevices: string[];
  /** What those have become on this host: [] in a caller's request. */
  cdiNodes: DeviceNode[];
  /** Theirs; null in a caller's request. */
  cdiHooks: Hooks | null;
  mounts: MountRequest[];
  labels: Pairs;
  annotations: Pairs;
  /** Relative to the sandbox's log directory; '' for no log. */
  logPath: string;
  stdin: boolean;
  stdinOnce: boolean;
  tty: boolean;
  user: UserRequest;
  capabilities: { add: string[]; drop: string[]; ambient: string[] };
  privileged: boolean;
  readonlyRootfs: boolean;
  noNewPrivileges: boolean;
  seccomp: SecurityProfile;
  /** null for none named: the default where the host has it. */
  apparmor: SecurityProfile | null;
  maskedPaths: string[];
  readonlyPaths: string[];
  /** null for what the sandbox has. */
  pid: NamespaceModes['pid'] | null;
  targetId: string;
  /** undefined for what the sandbox has, null for the host's. */
  userNamespace?: UserNamespace | null;
  resources: Resources | null;
  oomScoreAdj: number | null;
  /** 0 for the image's or SIGTERM. */
  stopSignal: number;
}

export interface MountRequest extends Omit<BindMount, 'idmapped'> {
  /** The ids that its files' owners are mapped to. */
  idMap?: UserNamespace;
  /** An image's content in place of a path of the host, which is '' then. */
  image?: { name: string; userSpecifiedImage: string; subPath: string };
}

export interface DeviceRequest {
  hostPath: string;
  containerPath: string;
  /** Letters of `rwm`. */
  permissions: string;
}

export interface UserRequest {
  uid: number | null;
  gid: number | null;
  username: string;
  supplementalGroups: number[];
  /** Strict: only the groups listed; Merge: those of the image's /etc/group as well. */
  policy: 'merge' | 'strict';
}
