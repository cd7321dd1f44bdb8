/** Programs that hear of pods and containers and may change the latter (NRI plugins). Unit tests of the verbs do without; the real thing is tested with real plugins. */
import type {
  ContainerRecord,
  DeviceNode,
  ExitRecord,
  Hooks,
  Pairs,
  Resources,
  Rlimit,
  SandboxRecord,
} from '../model.js';

export interface PluginPod {
  record: SandboxRecord;
  /** Types as OCI names them, and where they are pinned. */
  namespaces: Pairs;
}

export interface PluginContainer {
  record: ContainerRecord;
  state: 'created' | 'running' | 'exited';
  /** 0 when it is not known or there is none. */
  pid: number;
  /** 0n for never. */
  startedAt: bigint;
  exit: ExitRecord | null;
}

/** As NRI calls them. */
export type PodEvent =
  'RunPodSandbox' | 'PostUpdatePodSandbox' | 'StopPodSandbox' | 'RemovePodSandbox';
export type ContainerEvent =
  | 'PostCreateContainer'
  | 'StartContainer'
  | 'PostStartContainer'
  | 'PostUpdateContainer'
  | 'RemoveContainer';

/** nri/: the connected plugins. All of them hear of one event before any hears of the next. */
export interface PluginHost {
  /**
   * Rejects with the refusal of a plugin; one that hangs or dies is no longer a plugin. `introduce` is
   * called when all have heard of it, before any hears of anything else.
   */
  podEvent(event: PodEvent, pod: PluginPod, introduce?: () => void): Promise<void>;
  updatePod(pod: PluginPod, overhead: Resources | null, resources: Resources | null): Promise<void>;
  containerEvent(event: ContainerEvent, pod: PluginPod, container: PluginContainer): Promise<void>;
  /** Before anything of it is made. */
  createContainer(
    pod: PluginPod,
    container: PluginContainer,
    introduce: () => void,
  ): Promise<CreateAnswer>;
  /** `change` is what was asked for; answers what is to be done in its place. */
  updateContainer(
    pod: PluginPod,
    container: PluginContainer,
    change: Resources,
  ): Promise<UpdateAnswer>;
  stopContainer(pod: PluginPod, container: PluginContainer): Promise<ContainerChanges>;
}

/** What a plugin host needs of the runtime. */
export interface PluginRuntime {
  /** All there is, with what plugins have heard of already and nobody else. */
  state(): { pods: PluginPod[]; containers: PluginContainer[] };
  /** Answers those that failed. */
  change(changes: ContainerChanges): Promise<LimitChange[]>;
}

/** Changes of containers that are there. */
export interface ContainerChanges {
  updates: LimitChange[];
  evictions: { id: string; reason: string }[];
}

export interface LimitChange {
  id: string;
  resources: Resources;
  /** Its failure is not worth a word. */
  ignoreFailure: boolean;
}

export interface CreateAnswer extends ContainerChanges {
  adjustment: ContainerAdjustment | null;
}

export interface UpdateAnswer extends ContainerChanges {
  resources: Resources;
}

/** Changes of a container to be made; what is empty or null changes nothing. */
export interface ContainerAdjustment {
  args: string[];
  removedEnv: string[];
  env: Pairs;
  removedAnnotations: string[];
  annotations: Pairs;
  /** Places in the container. */
  removedMounts: string[];
  mounts: PluginMount[];
  removedDevices: string[];
  devices: DeviceNode[];
  cdiDevices: string[];
  hooks: Hooks;
  rlimits: Rlimit[];
  resources: Resources | null;
  /** '' for none. */
  cgroup: string;
  oomScoreAdj: number | null;
  /** A document as the OCI runtime specification has it. */
  seccomp: string | null;
}

/** As mount(8) words it. */
export interface PluginMount {
  target: string;
  type: string;
  source: string;
  options: string[];
}
