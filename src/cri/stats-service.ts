/** The RPCs that tell what containers and pods use. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { RuntimeError } from '../core/errors.js';
import type { StatsCollector } from '../runtime/container-stats.js';
import type { RuntimeContext } from '../runtime/context.js';
import { toContainerStats } from './convert-container-status.js';
import type * as stats from './gen/stats.js';
import { matchesContainer, matching } from './object-filter.js';
import { unary, type Gate, type Handler } from './unary.js';

export function statsRpcs(
  context: RuntimeContext,
  gate: Gate,
  collector: StatsCollector,
): UntypedServiceImplementation {
  const rpc = <Req, Res>(name: string, handler: Handler<Req, Res>) => unary(gate, name, handler);
  return {
    containerStats: rpc('ContainerStats', async (request: stats.ContainerStatsRequest) => {
      const found = context.objects.container(request.containerId);
      const [usage] = await collector.collect([found]);
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
        return { stats: (await collector.collect([...wanted])).map(toContainerStats) };
      },
    ),
  };
}
