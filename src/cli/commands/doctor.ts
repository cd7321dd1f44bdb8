/** `pvecri doctor`: what on this host keeps pods from running, and how to mend it. */
import type { Command } from 'commander';
import { configSchema } from '../../config/schema.js';
import type { Config } from '../../config/schema.js';
import { connectCri } from '../../cri/client.js';
import { agentChecks } from '../doctor/agent-checks.js';
import { cgroupDriverChecks } from '../doctor/cgroup-driver-check.js';
import { problem } from '../doctor/check.js';
import type { Finding, Verdict } from '../doctor/check.js';
import { realHost } from '../doctor/host-view.js';
import { kernelChecks } from '../doctor/kernel-checks.js';
import { storageChecks } from '../doctor/storage-checks.js';
import { softwareChecks } from '../doctor/software-checks.js';
import { EXIT_FAILED, EXIT_OK, asFailure } from '../failure.js';
import { examples } from '../option-values.js';
import type { Session } from '../session.js';
import { printable } from '../table.js';

const STYLES = { ok: 'green', warning: 'yellow', problem: 'red' } as const;

export function addDoctor(program: Command, session: Session): void {
  program
    .command('doctor')
    .description('check this host: what is wrong, and how to mend it')
    .addHelpText(
      'after',
      '\nEnds with 0 when pods can run, warnings or not, and with 1 when there is a problem.\n' +
        examples('pvecri doctor', 'pvecri doctor --json', 'pvecri --config test.toml doctor'),
    )
    .action(() => session.act(() => examine(session)));
}

async function examine(session: Session): Promise<number> {
  const findings: Finding[] = [];
  const host = realHost();
  const config = await readConfig(session, findings);
  findings.push(...(await kernelChecks(host)), ...(await cgroupDriverChecks(host, config)));
  findings.push(...(await storageChecks(host, config)));
  findings.push(...(await softwareChecks(host, config)));
  const socket = session.socketOption ?? config.socket;
  const client = connectCri(socket);
  try {
    findings.push(...(await agentChecks(socket, client, session.signal)));
  } finally {
    client.close();
  }
  const count = (verdict: Verdict): number =>
    findings.filter((finding) => finding.verdict === verdict).length;
  const problems = count('problem');
  if (session.json) {
    await session.out.json({ problems, warnings: count('warning'), checks: findings });
  } else {
    await print(session, findings);
    await session.out.line(`\n${summary(problems, count('warning'))}`);
  }
  return problems === 0 ? EXIT_OK : EXIT_FAILED;
}

/** A configuration that can't be read is a finding; the rest is checked with the defaults. */
async function readConfig(session: Session, findings: Finding[]): Promise<Config> {
  try {
    return await session.config();
  } catch (error) {
    const { message } = asFailure(error);
    findings.push(
      problem('configuration', message, 'mend it; try by: pvecri agent --check-config'),
    );
    return configSchema.parse({});
  }
}

async function print(session: Session, findings: readonly Finding[]): Promise<void> {
  const nameWidth = Math.max(...findings.map(({ check }) => check.length));
  for (const { check, verdict, message, remedy } of findings) {
    const word = session.out.styled(STYLES[verdict], verdict.padEnd(7));
    await session.out.line(`${word}  ${check.padEnd(nameWidth)}  ${printable(message)}`);
    if (remedy !== '') {
      await session.out.line(`${' '.repeat(9 + nameWidth)}  → ${printable(remedy)}`);
    }
  }
}

function summary(problems: number, warnings: number): string {
  const plural = (count: number, word: string): string =>
    `${count} ${word}${count === 1 ? '' : 's'}`;
  if (problems > 0) return `${plural(problems, 'problem')}, ${plural(warnings, 'warning')}`;
  return warnings > 0 ? `pods can run; ${plural(warnings, 'warning')}` : 'pods can run';
}
