/** How a command of exec or attach ended, in the words of the channel protocol's versions. */

export type CommandStatus =
  | { kind: 'success' }
  | { kind: 'exit'; code: number }
  /** It could not be run or followed to its end. */
  | { kind: 'failure'; message: string };

/** `v4.channel.k8s.io` is version 4; plain `channel.k8s.io` is 1. */
export type ChannelVersion = 1 | 2 | 3 | 4 | 5;

/** The fields of `metav1.Status` that clients read. */
interface MetaStatus {
  status: 'Success' | 'Failure';
  message?: string;
  reason?: 'NonZeroExitCode' | 'InternalError';
  details?: { causes: { reason: 'ExitCode'; message: string }[] };
  code?: number;
}

/**
 * What the error channel carries, once, before its end: from version 4 on a `metav1.Status`, before
 * that an error's text, and nothing for success.
 */
export function statusMessage(version: ChannelVersion, status: CommandStatus): string {
  const answer = metaStatus(status);
  return version >= 4 ? JSON.stringify(answer) : (answer.message ?? '');
}

function metaStatus(status: CommandStatus): MetaStatus {
  switch (status.kind) {
    case 'success':
      return { status: 'Success' };
    case 'exit':
      return {
        status: 'Failure',
        message: `command terminated with non-zero exit code: ${status.code}`,
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: String(status.code) }] },
      };
    case 'failure':
      return {
        status: 'Failure',
        message: `Internal error occurred: ${status.message}`,
        reason: 'InternalError',
        code: 500,
      };
  }
}
