/** Entry of the `pvecri` command: the agent, or a client of it. The one place that sets the exit code. */

const [verb, ...rest] = process.argv.slice(2);

// Each side loads only what it needs: a client that lists pods starts without the agent's code.
if (verb === 'agent') {
  const { runAgentCommand } = await import('./agent-command.js');
  process.exitCode = await runAgentCommand(rest);
} else {
  const { runCli } = await import('./cli/cli.js');
  process.exitCode = await runCli(process.argv.slice(2));
}
