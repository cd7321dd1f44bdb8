/** Checks of the agent itself: whether it answers, and what it says of its own state. */
import type { CriClient } from '../../cri/client.js';
import { ListPodSandboxRequest, StatusRequest, VersionRequest } from '../../cri/gen/index.js';
import { agentRoot } from '../agent-queries.js';
import { asFailure } from '../failure.js';
import { listPodFiles } from '../pod-files.js';
import { ok, problem, warning } from './check.js';
import type { Finding } from './check.js';

/** A healthy agent answers within milliseconds. */
const ANSWER_MS = 5000;

export async function agentChecks(
  socket: string,
  cri: CriClient,
  signal: AbortSignal,
): Promise<Finding[]> {
  const options = { signal, timeoutMs: ANSWER_MS };
  try {
    const version = await cri.runtime.version(VersionRequest.create({}), options);
    const name = `${version.runtimeName} ${version.runtimeVersion}`;
    if (version.runtimeName !== 'pvecri') {
      return [
        problem(
          'agent',
          `${name} answers at ${socket}`,
          "give pvecri's own socket by --socket or --config",
        ),
      ];
    }
    const findings = [ok('agent', `${name} answers at ${socket}`)];
    const { status } = await cri.runtime.status(StatusRequest.create({}), options);
    for (const { type, status: isGood, reason, message } of status?.conditions ?? []) {
      // The kernel's checks tell the same with a remedy.
      if (isGood || type === 'CgroupControllersReady') continue;
      findings.push(
        problem(
          'agent',
          `it says that ${type} does not hold: ${[reason, message].filter(Boolean).join(': ')}`,
          'see its log: journalctl -u pvecri',
        ),
      );
    }
    findings.push(...(await leftovers(cri, signal)));
    return findings;
  } catch (error) {
    if (signal.aborted) throw error;
    const { message } = asFailure(error);
    const [what, remedy = 'see its log: journalctl -u pvecri'] = message.split('; start it by: ');
    return [
      problem(
        'agent',
        what ?? message,
        remedy.startsWith('see') ? remedy : `start it by: ${remedy}`,
      ),
    ];
  }
}

/** Files of `pvecri run` whose pod was removed by another client. */
async function leftovers(cri: CriClient, signal: AbortSignal): Promise<Finding[]> {
  const root = await agentRoot(cri, signal);
  const { items } = await cri.runtime.listPodSandbox(ListPodSandboxRequest.create({}), { signal });
  const known = new Set(items.map(({ metadata }) => metadata?.uid));
  const left = (await listPodFiles(root)).filter((uid) => !known.has(uid));
  if (left.length === 0) return [];
  return [
    warning(
      'leftovers',
      `${left.length} pods of pvecri run are gone, but their volumes and logs are not: ${left.slice(0, 3).join(', ')}`,
      `remove their folders in ${root}/run-pods; each pod.json there names a log folder to remove as well`,
    ),
  ];
}
