/** `pvecri agent`: checks its arguments, then runs the agent in the foreground. */
import { parseArgs } from 'node:util';
import { loadConfig } from './config/load.js';
import { RuntimeError } from './core/errors.js';
import { runAgent } from './daemon.js';

const HELP = `Usage: pvecri agent [--config FILE] [--check-config]

Runs the agent in the foreground. It logs to stderr and stops on SIGTERM; containers go on.
SIGHUP reloads what can be reloaded.

  --config FILE    configuration; default /etc/pvecri/config.toml, with config.d/*.toml beside it
  --check-config   only check the configuration; exit code 0 when it is good
  -h, --help

Examples:
  pvecri agent
  pvecri agent --config /root/test.toml
  pvecri agent --check-config
`;

/** Returns the exit code: 0 ended as asked, 1 failed, 2 wrong usage or configuration. */
export async function runAgentCommand(args: string[]): Promise<number> {
  try {
    const { values } = parseArgs({
      args,
      options: {
        config: { type: 'string' },
        'check-config': { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help) {
      process.stdout.write(HELP);
      return 0;
    }
    if (values['check-config']) return await checkConfig(values.config);
    await runAgent(values.config);
    return 0;
  } catch (error) {
    process.stderr.write(
      `pvecri agent: ${error instanceof Error ? error.message : String(error)}\n`,
    );
    return isUsage(error) ? 2 : 1;
  }
}

async function checkConfig(file: string | undefined): Promise<number> {
  const { files } = await loadConfig(file);
  process.stdout.write(`configuration is good: ${files.join(', ') || 'all defaults'}\n`);
  return 0;
}

function isUsage(error: unknown): boolean {
  if (error instanceof RuntimeError) return error.kind === 'invalid-argument';
  return error instanceof TypeError && 'code' in error;
}
