/** `pvecri pods`: the pods the agent has. */
import { Option } from 'commander';
import type { Command } from 'commander';
import { listInventory, podStatus } from '../agent-queries.js';
import { POD_STATES, podDocument, podIps, podState } from '../documents.js';
import { formatAge } from '../human-units.js';
import { examples, label } from '../option-values.js';
import type { Session } from '../session.js';
import { formatTable, shortId } from '../table.js';

interface PodsOptions {
  quiet?: true;
  name?: string;
  namespace?: string;
  label?: Map<string, string>;
  state?: string;
}

export function addPods(program: Command, session: Session): void {
  program
    .command('pods')
    .description('list pods')
    .option('-q, --quiet', 'print ids alone')
    .option('--name <NAME>', 'only pods of this name')
    .option('--namespace <NAMESPACE>', 'only pods of this namespace')
    .option('--label <KEY=VALUE>', 'only pods with this label; all of several must match', label)
    .addOption(new Option('--state <STATE>', 'only pods in this state').choices(POD_STATES))
    .addHelpText(
      'after',
      examples('pvecri pods', 'pvecri pods --state ready --label app=shop', 'pvecri pods --json'),
    )
    .action((options: PodsOptions) => session.act(() => listPods(session, options)));
}

async function listPods(session: Session, options: PodsOptions): Promise<number> {
  const cri = await session.cri();
  const { pods } = await listInventory(cri, session.signal, {
    pods: { labelSelector: options.label ?? new Map<string, string>() },
  });
  const listed = await Promise.all(
    pods
      .filter(
        (pod) =>
          (options.name === undefined || pod.metadata?.name === options.name) &&
          (options.namespace === undefined || pod.metadata?.namespace === options.namespace) &&
          (options.state === undefined || podState(pod.state) === options.state),
      )
      .map(async (pod) => ({ pod, status: await podStatus(cri, pod.id, session.signal) })),
  );
  if (session.json) {
    await session.out.json(listed.map(({ pod, status }) => podDocument(pod, status)));
  } else if (options.quiet) {
    for (const { pod } of listed) await session.out.line(pod.id);
  } else {
    const now = Date.now();
    const rows = listed.map(({ pod, status }) => [
      shortId(pod.id),
      pod.metadata?.namespace ?? '',
      pod.metadata?.name ?? '',
      podState(status?.state ?? pod.state),
      podIps(status)[0] ?? '-',
      String(pod.metadata?.attempt ?? 0),
      formatAge(now - Number(pod.createdAt / 1_000_000n)),
    ]);
    await session.out.write(
      formatTable(['POD ID', 'NAMESPACE', 'NAME', 'STATE', 'IP', 'ATTEMPT', 'AGE'], rows),
    );
  }
  return 0;
}
