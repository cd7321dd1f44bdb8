/** `pvecri attach`: joins the process of a running container. */
import type { Command } from 'commander';
import { listInventory } from '../agent-queries.js';
import { EXIT_OK } from '../failure.js';
import { findContainer } from '../lookup.js';
import { examples } from '../option-values.js';
import type { Session } from '../session.js';
import { runStream } from '../stream-session.js';

export function addAttach(program: Command, session: Session): void {
  program
    .command('attach')
    .description("join a container's own process; its exit code becomes this one")
    .argument('<container>', 'name, POD/CONTAINER, id or unique prefix of one')
    .option('--no-stdin', 'show its output alone; needed where the container has no stdin')
    .addHelpText(
      'after',
      '\nShows what it writes from now on; pvecri logs has the rest. On a terminal Ctrl-P Ctrl-Q\nleaves the container and lets it go on; everywhere else Ctrl-C does.\n' +
        examples('pvecri attach web/shell', 'pvecri attach --no-stdin web/server'),
    )
    .action((reference: string, options: { stdin: boolean }) =>
      session.act(() => attach(session, reference, options.stdin)),
    );
}

async function attach(session: Session, reference: string, stdin: boolean): Promise<number> {
  const cri = await session.cri();
  const container = findContainer(await listInventory(cri, session.signal), reference);
  const admin = await session.admin();
  const size = session.terminal?.size();
  const code = await runStream(
    session,
    admin.attach({ containerId: container.id, stdin, ...(size && { size }) }),
    { stdin, detachKeys: true },
  );
  if (code === undefined) await session.note(`\ndetached; the container goes on`);
  return code ?? EXIT_OK;
}
