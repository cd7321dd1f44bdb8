/** Exec, Attach and PortForward: they are checked here and answered with a URL; the streaming server does the rest. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { RuntimeError } from '../core/errors.js';
import { requireAttachable } from '../runtime/attach.js';
import type { RuntimeContext } from '../runtime/context.js';
import { requireCommand } from '../runtime/exec-process.js';
import { requireForwardable, requirePort } from '../runtime/port-forward.js';
import { attachCommand, execCommand, type WantedStreams } from '../streaming/commands.js';
import { podPortForward } from '../streaming/port-forward.js';
import type { StreamingServer } from '../streaming/server.js';
import type {
  AttachRequest,
  AttachResponse,
  ExecRequest,
  ExecResponse,
  PortForwardRequest,
  PortForwardResponse,
} from './gen/exec.js';
import { unary, type Gate } from './unary.js';

export function streamingRpcs(
  context: RuntimeContext,
  gate: Gate,
  streaming: StreamingServer,
): UntypedServiceImplementation {
  return {
    exec: unary(gate, 'Exec', (request: ExecRequest): ExecResponse => {
      requireStreams('exec', request);
      const { id } = requireCommand(context, request.containerId, request.cmd);
      const command = { containerId: id, command: request.cmd };
      return {
        url: streaming.issue({ kind: 'exec', command: execCommand(context, command, request) }),
      };
    }),
    attach: unary(gate, 'Attach', (request: AttachRequest): AttachResponse => {
      requireStreams('attach', request);
      const { id, record } = requireAttachable(context, request);
      if (request.tty && !record.tty) {
        throw new RuntimeError(
          'invalid-argument',
          `attach: tty is asked for, but container ${id} has none: attach without it`,
        );
      }
      const call = { containerId: id, stdin: request.stdin };
      return {
        url: streaming.issue({ kind: 'attach', command: attachCommand(context, call, request) }),
      };
    }),
    portForward: unary(gate, 'PortForward', (request: PortForwardRequest): PortForwardResponse => {
      const { id } = requireForwardable(context, request.podSandboxId);
      request.port.forEach(requirePort);
      return {
        url: streaming.issue({
          kind: 'portforward',
          forward: podPortForward(context, id, request.port),
        }),
      };
    }),
  };
}

function requireStreams(call: string, { stdin, stdout, stderr, tty }: WantedStreams): void {
  if (tty && stderr) {
    throw new RuntimeError(
      'invalid-argument',
      `${call}: tty and stderr are both set: a terminal has one output, leave stderr out`,
    );
  }
  if (!stdin && !stdout && !stderr) {
    throw new RuntimeError(
      'invalid-argument',
      `${call}: none of stdin, stdout and stderr is set: set at least one`,
    );
  }
}
