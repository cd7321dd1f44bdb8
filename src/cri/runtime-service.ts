/** The RuntimeService RPCs: conversion in, the verb, conversion out. RPCs not named here are UNIMPLEMENTED. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { RuntimeError } from '../core/errors.js';
import type { ContainerEngine, ExecResult } from '../core/ports/engine.js';
import { NO_LIMITS } from '../core/resource-change.js';
import type { StreamingServer } from '../streaming/server.js';
import { createContainer } from '../runtime/container-create.js';
import { removeContainer } from '../runtime/container-remove.js';
import { startContainer } from '../runtime/container-start.js';
import type { StatsCollector } from '../runtime/stats.js';
import { reopenContainerLog } from '../runtime/container-reopen-log.js';
import { stopContainer } from '../runtime/container-stop.js';
import type { RuntimeContext } from '../runtime/context.js';
import { execSync } from '../runtime/exec-sync.js';
import type { Container, Sandbox } from '../runtime/objects.js';
import { removeSandbox } from '../runtime/sandbox-remove.js';
import { runSandbox } from '../runtime/sandbox-run.js';
import { stopSandbox } from '../runtime/sandbox-stop.js';
import { updateContainer } from '../runtime/container-update.js';
import { updateSandbox } from '../runtime/sandbox-update.js';
import { toContainerRequest } from './convert-container.js';
import {
  containerInfo,
  containerState,
  encodeContainerItem,
  toContainerStatus,
} from './convert-container-status.js';
import { toResources } from './convert-resources.js';
import {
  encodeSandboxItem,
  sandboxState,
  toSandboxRequest,
  toSandboxStatus,
} from './convert-sandbox.js';
import { EncodedItems } from './encoded-list.js';
import type * as container from './gen/container.js';
import type { ExecSyncRequest, ExecSyncResponse } from './gen/exec.js';
import { CgroupDriver } from './gen/runtime.js';
import type * as runtime from './gen/runtime.js';
import { RuntimeServiceService } from './gen/runtime_service.js';
import type * as sandbox from './gen/sandbox.js';
import type {
  UpdateContainerResourcesRequest,
  UpdatePodSandboxResourcesRequest,
} from './gen/resources.js';
import { nodeStatus } from './node-status.js';
import { matchesContainer, matchesSandbox, matching } from './object-filter.js';
import { parsePodCidrs } from './pod-cidr.js';
import { statsRpcs } from './stats-service.js';
import { streamingRpcs } from './streaming-service.js';
import { unary, type Gate, type Handler } from './unary.js';

/** What the service needs beside the verbs' context. */
export interface RuntimeServiceFacts {
  /** Shown by a verbose Status. */
  config: object;
  version: string;
  stats: StatsCollector;
  streaming: StreamingServer;
}

/** List answers leave the service as bytes: see encoded-list.ts and encoded-stats.ts. */
const asBytes = { responseSerialize: (bytes: Buffer): Buffer => bytes };

export const runtimeServiceDefinition = {
  ...RuntimeServiceService,
  listPodSandbox: { ...RuntimeServiceService.listPodSandbox, ...asBytes },
  listContainers: { ...RuntimeServiceService.listContainers, ...asBytes },
  listContainerStats: { ...RuntimeServiceService.listContainerStats, ...asBytes },
};

const DRIVERS = { cgroupfs: CgroupDriver.CGROUPFS, systemd: CgroupDriver.SYSTEMD } as const;

export function runtimeService(
  context: RuntimeContext,
  gate: Gate,
  facts: RuntimeServiceFacts,
): UntypedServiceImplementation {
  const rpc = <Req, Res>(name: string, handler: Handler<Req, Res>) => unary(gate, name, handler);
  let podCidrs: string[] = [];
  return {
    version: unary(gate, 'Version', () => version(facts.version), true),
    status: rpc('Status', ({ verbose }: runtime.StatusRequest) =>
      nodeStatus(context, { config: facts.config, podCidrs }, verbose),
    ),
    updateRuntimeConfig: rpc(
      'UpdateRuntimeConfig',
      (request: runtime.UpdateRuntimeConfigRequest) => {
        // Told for information: the addresses are the CNI configuration's, which is the operator's.
        podCidrs = parsePodCidrs(request.runtimeConfig?.networkConfig?.podCidr ?? '');
        return {};
      },
    ),
    runtimeConfig: rpc('RuntimeConfig', () => ({
      linux: { cgroupDriver: DRIVERS[context.layouts.driver] },
    })),
    ...sandboxRpcs(context, gate),
    ...containerRpcs(context, gate),
    ...statsRpcs(context, gate, facts.stats),
    ...streamingRpcs(context, gate, facts.streaming),
  };
}

function version(runtimeVersion: string): runtime.VersionResponse {
  return {
    version: '0.1.0',
    runtimeName: 'pvecri',
    runtimeVersion,
    runtimeApiVersion: 'v1',
  };
}

function sandboxRpcs(context: RuntimeContext, gate: Gate): UntypedServiceImplementation {
  const rpc = <Req, Res>(name: string, handler: Handler<Req, Res>) => unary(gate, name, handler);
  const items = new EncodedItems<Sandbox>(encodeSandboxItem);
  return {
    runPodSandbox: rpc('RunPodSandbox', async (request: sandbox.RunPodSandboxRequest) => ({
      podSandboxId: await runSandbox(context, toSandboxRequest(request)),
    })),
    stopPodSandbox: rpc('StopPodSandbox', async (request: sandbox.StopPodSandboxRequest) => {
      await stopSandbox(context, request.podSandboxId);
      return {};
    }),
    removePodSandbox: rpc('RemovePodSandbox', async (request: sandbox.RemovePodSandboxRequest) => {
      await removeSandbox(context, request.podSandboxId);
      return {};
    }),
    updatePodSandboxResources: rpc(
      'UpdatePodSandboxResources',
      async ({ podSandboxId, overhead, resources }: UpdatePodSandboxResourcesRequest) => {
        await updateSandbox(context, podSandboxId, {
          overhead: toResources(overhead),
          resources: toResources(resources),
        });
        return {};
      },
    ),
    podSandboxStatus: rpc('PodSandboxStatus', (request: sandbox.PodSandboxStatusRequest) => {
      const found = context.objects.sandbox(request.podSandboxId);
      const response: sandbox.PodSandboxStatusResponse = {
        status: toSandboxStatus(found),
        info: new Map(request.verbose ? [['info', JSON.stringify(found.record)]] : []),
        containersStatuses: [],
        timestamp: context.host.now(),
      };
      return response;
    }),
    listPodSandbox: rpc('ListPodSandbox', ({ filter }: sandbox.ListPodSandboxRequest) =>
      items.response(
        matching(context.objects.sandboxes(), (each) => {
          if (!filter) return true;
          return (
            matchesSandbox(each, filter) &&
            (!filter.state || filter.state.state === sandboxState(each))
          );
        }),
      ),
    ),
  };
}

function containerRpcs(context: RuntimeContext, gate: Gate): UntypedServiceImplementation {
  const rpc = <Req, Res>(name: string, handler: Handler<Req, Res>) => unary(gate, name, handler);
  const items = new EncodedItems<Container>(encodeContainerItem);
  return {
    createContainer: rpc('CreateContainer', async (request: container.CreateContainerRequest) => ({
      containerId: await createContainer(context, toContainerRequest(request)),
    })),
    startContainer: rpc('StartContainer', async (request: container.StartContainerRequest) => {
      await startContainer(context, request.containerId);
      return {};
    }),
    stopContainer: rpc('StopContainer', async (request: container.StopContainerRequest) => {
      const graceMs = milliseconds('StopContainer timeout', request.timeout);
      await stopContainer(context, request.containerId, graceMs);
      return {};
    }),
    removeContainer: rpc('RemoveContainer', async (request: container.RemoveContainerRequest) => {
      await removeContainer(context, request.containerId);
      return {};
    }),
    updateContainerResources: rpc(
      'UpdateContainerResources',
      async ({ containerId, linux }: UpdateContainerResourcesRequest) => {
        // oom_score_adj is left alone, as by the other runtimes: a caller that changes cpusets alone,
        // as the kubelet's CPU manager does, sends a 0 there that nobody means.
        await updateContainer(context, containerId, toResources(linux) ?? NO_LIMITS);
        return {};
      },
    ),
    containerStatus: rpc('ContainerStatus', (request: container.ContainerStatusRequest) => {
      const found = context.objects.container(request.containerId);
      const response: container.ContainerStatusResponse = {
        status: toContainerStatus(found),
        info: new Map(request.verbose ? [['info', containerInfo(found)]] : []),
      };
      return response;
    }),
    listContainers: rpc('ListContainers', ({ filter }: container.ListContainersRequest) =>
      items.response(
        matching(context.objects.containers(), (each) => {
          if (!filter) return true;
          return (
            matchesContainer(each, filter) &&
            (!filter.state || filter.state.state === containerState(each))
          );
        }),
      ),
    ),
    reopenContainerLog: rpc(
      'ReopenContainerLog',
      async (request: container.ReopenContainerLogRequest) => {
        await reopenContainerLog(context, request.containerId);
        return {};
      },
    ),
    execSync: rpc('ExecSync', async (request: ExecSyncRequest, { signal }) => {
      const result = await execSync(context, {
        containerId: request.containerId,
        command: request.cmd,
        timeoutMs: milliseconds('ExecSync timeout', request.timeout),
        signal,
      });
      return toExecResponse(result);
    }),
  };
}

/** CRI counts in whole seconds; setTimeout's limit of 2^31 ms is three weeks. */
function milliseconds(what: string, seconds: bigint): number {
  if (seconds < 0n) {
    throw new RuntimeError(
      'invalid-argument',
      `${what} ${seconds} is negative: expected 0 or more`,
    );
  }
  return Math.min(Number(seconds) * 1000, 2 ** 31 - 1);
}

function toExecResponse(result: Awaited<ReturnType<ContainerEngine['exec']>>): ExecSyncResponse {
  const { stdout, stderr, exitCode }: ExecResult = result;
  return { stdout: Buffer.from(stdout), stderr: Buffer.from(stderr), exitCode };
}
