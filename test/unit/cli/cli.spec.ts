/** Arguments, help and failures, without an agent. */
import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { runCli } from '../../../src/cli/cli.js';
import { withTempFolder } from '../../support/temp.js';

const COMMANDS = [
  'run',
  'pods',
  'ps',
  'logs',
  'exec',
  'attach',
  'stats',
  'inspect',
  'stop',
  'rm',
  'images',
  'rmi',
  'pull',
  'pulls',
  'push',
  'tag',
  'save',
  'load',
  'prune',
  'verify',
  'check',
  'doctor',
  'completion',
];

async function pvecri(
  args: string[],
  { stdin = '', signal = new AbortController().signal } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const code = await runCli(args, { stdin: Readable.from([stdin]), stdout, stderr, signal });
  const text = (stream: PassThrough): string => String((stream.read() as Buffer | null) ?? '');
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

describe('pvecri', () => {
  it('lists every command in its help', async () => {
    const { code, stdout } = await pvecri(['--help']);
    assert.equal(code, 0);
    const listed = [...stdout.matchAll(/^ {2}([a-z]+) (?:\[|<| ).*$/gm)].map(([, name]) => name);
    const commands = listed.filter(
      (name) => name !== 'help' && name !== 'exec' && name !== 'pvecri',
    );
    assert.deepEqual(
      commands.filter((name) => !COMMANDS.includes(name ?? '')),
      [],
    );
    for (const name of COMMANDS) assert.match(stdout, new RegExp(`^ {2}${name} `, 'm'));
    assert.match(stdout, /pvecri agent/);
  });

  for (const name of COMMANDS) {
    it(`${name} has help with examples and the global options`, async () => {
      const { code, stdout, stderr } = await pvecri([name, '--help']);
      assert.equal(code, 0);
      assert.equal(stderr, '');
      assert.match(
        stdout,
        new RegExp(`\\nExamples:\\n {2}pvecri .*${name}|\\nExamples:\\n {2}pvecri`),
      );
      assert.match(stdout, /--socket <PATH>/);
    });
  }

  const wrong: [string[], RegExp][] = [
    [['pss'], /unknown command 'pss' .*Did you mean ps/],
    [['ps', '--al'], /unknown option '--al'/],
    [['logs'], /missing required argument 'container'/],
    [['logs', 'x', '--tail', '-1'], /Expected a number/],
    [['logs', 'x', '--since', 'noon'], /Expected a time/],
    [['pods', '--label', 'app'], /Expected KEY=VALUE/],
    [['pods', '--state', 'running'], /Allowed choices are ready, notready/],
    [['stop', 'x', '--timeout', 'soon'], /Expected a time/],
    [['run', '/none/at/all.yaml'], /cannot read \/none\/at\/all\.yaml/],
    [['run', '-', '--rm'], /--rm and --timeout need --wait/],
    [['run', '-', '--log-dir', 'logs'], /--log-dir must be an absolute path/],
    [['--config', '/none/at/all.toml', 'ps'], /cannot read configuration \/none\/at\/all\.toml/],
    [['--socket', `/${'x'.repeat(120)}`, 'ps'], /too long/],
  ];
  for (const [args, message] of wrong) {
    it(`answers ${args.join(' ').slice(0, 40)} with one line`, async () => {
      const { code, stdout, stderr } = await pvecri(args);
      assert.equal(code, 2, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, message);
      assert.match(stderr, /^pvecri: [^\n]*\n$/);
    });
  }

  it('has a document for a failure, where --json is its own', async () => {
    const { stdout } = await pvecri(['logs', '--json']);
    assert.deepEqual((JSON.parse(stdout) as { error: { kind: string } }).error.kind, 'usage');
    assert.equal((await pvecri(['exec', '--nope', '--', '--json'])).stdout, '');
  });

  it('shows no escape sequence of a hostile manifest', async () => {
    const stdin = 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {"\\e[31mx": 1}\n';
    const { code, stderr } = await pvecri(['run', '-'], { stdin });
    assert.equal(code, 2);
    assert.ok(!stderr.includes('\u001b'), JSON.stringify(stderr));
  });

  it('ends with 4 where no agent is', async () => {
    await withTempFolder(async (folder) => {
      const { code, stdout } = await pvecri(['--socket', `${folder}/none.sock`, '--json', 'pods']);
      assert.equal(code, 4);
      const { error } = JSON.parse(stdout) as { error: { kind: string; message: string } };
      assert.equal(error.kind, 'unavailable');
      assert.match(error.message, /there is no such socket/);
    });
  });

  it('ends with 130 when it is interrupted', async () => {
    const { code, stderr } = await pvecri(['pods'], {
      signal: AbortSignal.abort(new Error('SIGINT')),
    });
    assert.equal(code, 130);
    assert.equal(stderr, 'pvecri: interrupted\n');
  });
});
