/** Status: the conditions that the kubelet's node status is made of. */
import type { RuntimeContext } from '../runtime/context.js';
import type { StatusResponse } from './gen/runtime.js';

/** Shown by a verbose Status. */
export interface StatusFacts {
  config: object;
  /** What UpdateRuntimeConfig told last. */
  podCidrs: readonly string[];
}

/** Controllers without which limits and statistics have gaps. */
const WANTED = ['cpu', 'memory', 'pids', 'io', 'cpuset', 'hugetlb'];

export async function nodeStatus(
  context: RuntimeContext,
  facts: StatusFacts,
  verbose: boolean,
): Promise<StatusResponse> {
  const network = await context.network.status();
  const missing = missingControllers(context);
  return {
    status: {
      conditions: [
        { type: 'RuntimeReady', status: true, reason: '', message: '' },
        {
          type: 'NetworkReady',
          status: network.ready,
          reason: network.reason,
          message: network.message,
        },
        {
          type: 'CgroupControllersReady',
          status: missing.length === 0,
          reason: missing.length === 0 ? '' : 'ControllersMissing',
          message:
            missing.length === 0
              ? ''
              : `limits and statistics of these cgroup v2 controllers are missing: ${missing.join(', ')}`,
        },
      ],
    },
    info: new Map(
      verbose
        ? [
            ['config', JSON.stringify(facts.config)],
            ['podCidrs', JSON.stringify(facts.podCidrs)],
            [
              'unreadable',
              JSON.stringify([...context.objects.unreadable, ...context.images.unreadable()]),
            ],
          ]
        : [],
    ),
    runtimeHandlers: [
      {
        name: '',
        features: { recursiveReadOnlyMounts: true, userNamespaces: context.host.userNamespaces },
      },
    ],
    features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false },
  };
}

export function missingControllers(context: RuntimeContext): string[] {
  return WANTED.filter((controller) => !context.cgroups.controllers.has(controller));
}
