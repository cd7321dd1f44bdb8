/** The RPCs that tell what containers and pods use. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { RuntimeError } from '../core/errors.js';
import type { RuntimeContext } from '../runtime/context.js';
import type { StatsCollector } from '../runtime/stats.js';
import { toContainerStats, toSandboxStats } from './convert-stats.js';
import { EncodedStats } from './encoded-stats.js';
import type * as stats from './gen/stats.js';
import { matchesContainer, matchesSandbox, matching } from './object-filter.js';
import { unary, type Gate, type Handler } from './unary.js';

export function statsRpcs(
  context: RuntimeContext,
  gate: Gate,
  collector: StatsCollector,
): UntypedServiceImplementation {
  const rpc = <Req, Res>(name: string, handler: Handler<Req, Res>) => unary(gate, name, handler);
  const encoded = new EncodedStats();
  return {
    containerStats: rpc('ContainerStats', async (request: stats.ContainerStatsRequest) => {
      const found = context.objects.container(request.containerId);
      const [usage] = await collector.containers([found]);
      if (!usage) {
        throw new RuntimeError(
          'failed-precondition',
          `container ${found.id} has exited: only a running container has statistics`,
        );
      }
      return { stats: toContainerStats(usage) };
    }),
    listContainerStats: rpc(
      'ListContainerStats',
      async ({ filter }: stats.ListContainerStatsRequest) => {
        const wanted = matching(
          context.objects.containers(),
          (each) => !filter || matchesContainer(each, filter),
        );
        return encoded.response(await collector.containers([...wanted]));
      },
    ),
    podSandboxStats: rpc('PodSandboxStats', async (request: stats.PodSandboxStatsRequest) => {
      const found = context.objects.sandbox(request.podSandboxId);
      const [usage] = await collector.sandboxes([found]);
      if (!usage) {
        throw new RuntimeError(
          'failed-precondition',
          `pod sandbox ${found.id} is not ready: only one that is has statistics`,
        );
      }
      return { stats: toSandboxStats(usage) };
    }),
    listPodSandboxStats: rpc(
      'ListPodSandboxStats',
      async ({ filter }: stats.ListPodSandboxStatsRequest) => {
        const wanted = matching(
          context.objects.sandboxes(),
          (each) => each.ready && (!filter || matchesSandbox(each, filter)),
        );
        return { stats: (await collector.sandboxes([...wanted])).map(toSandboxStats) };
      },
    ),
  };
}
