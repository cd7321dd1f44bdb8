/** CRI messages with sensible values for pods and containers of a test agent. */
import { CreateContainerRequest } from '../../src/cri/gen/container.js';
import { NamespaceMode } from '../../src/cri/gen/namespace.js';
import { RunPodSandboxRequest } from '../../src/cri/gen/sandbox.js';
import type { TestAgent } from './agent.js';

type PodConfig = NonNullable<Parameters<typeof RunPodSandboxRequest.fromPartial>[0]['config']>;
type ContainerConfig = NonNullable<
  Parameters<typeof CreateContainerRequest.fromPartial>[0]['config']
>;

export const IMAGE = 'example.org/busybox:1';

/** A pod on the test's network unless `host` says otherwise. */
export function podRequest(
  agent: Pick<TestAgent, 'logs'>,
  name: string,
  change: PodConfig = {},
  network: NamespaceMode = NamespaceMode.POD,
): RunPodSandboxRequest {
  return RunPodSandboxRequest.fromPartial({
    config: {
      metadata: { name, namespace: 'default', uid: `uid-${name}`, attempt: 0 },
      hostname: name,
      logDirectory: agent.logs,
      dnsConfig: { servers: ['10.0.0.10'], searches: ['svc.local'], options: ['ndots:5'] },
      labels: new Map([['app', name]]),
      linux: {
        securityContext: {
          namespaceOptions: { network, pid: NamespaceMode.CONTAINER, ipc: NamespaceMode.POD },
        },
      },
      ...change,
    },
  });
}

export function containerRequest(
  podSandboxId: string,
  name: string,
  command: string[],
  change: ContainerConfig = {},
): CreateContainerRequest {
  return CreateContainerRequest.fromPartial({
    podSandboxId,
    config: {
      metadata: { name, attempt: 0 },
      image: { image: IMAGE },
      command,
      logPath: `${name}.log`,
      ...change,
    },
  });
}

export const shell = (script: string): string[] => ['/bin/sh', '-c', script];
