/** Which words, names or files belong at the end of a line. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Argument, Command, Option } from 'commander';
import { readLine } from '../../../../src/cli/completion/wanted.js';

function program(): Command {
  const root = new Command('pvecri')
    .option('--socket <PATH>', 'socket')
    .option('--config <FILE>', 'configuration')
    .option('--json', 'documents');
  root.command('run').argument('<file>').option('--log-dir <FOLDER>', 'logs');
  root
    .command('ps')
    .option('--pod <POD>', 'of a pod')
    .addOption(new Option('--state <STATE>', 'state').choices(['running', 'exited']))
    .addOption(new Option('--secret').hideHelp());
  root.command('exec').argument('<container>').argument('<command...>').option('-t, --tty');
  root.command('rm').argument('<pod-or-container...>');
  root.command('rmi').argument('<image...>');
  root.command('inspect').argument('<id>');
  root.command('completion').addArgument(new Argument('<shell>').choices(['bash', 'zsh']));
  root.command('__complete', { hidden: true });
  return root;
}

function wanted(...words: string[]): unknown {
  const { wanted: found } = readLine(program(), words);
  if (found.kind === 'words') return found.words.map(({ word }) => word);
  return found.kind === 'objects' ? found.objects : found.kind;
}

describe('completion of a line', () => {
  it('begins with the commands, the agent among them, and without hidden ones', () => {
    const words = wanted('') as string[];
    assert.ok(words.includes('run') && words.includes('agent') && words.includes('help'));
    assert.ok(!words.includes('__complete'));
    assert.deepEqual(wanted('--json', ''), words);
  });

  it('knows what an argument is by its placeholder', () => {
    assert.equal(wanted('run', ''), 'files');
    assert.equal(wanted('exec', ''), 'container');
    assert.equal(wanted('exec', '-t', 'web/p'), 'container');
    assert.equal(wanted('rm', 'web', ''), 'pod-or-container');
    assert.equal(wanted('rmi', ''), 'image');
    assert.equal(wanted('inspect', ''), 'any');
    assert.equal(wanted('inspect', 'web', ''), 'nothing');
    assert.deepEqual(wanted('completion', ''), ['bash', 'zsh']);
  });

  it('leaves the command of exec to itself', () => {
    assert.equal(wanted('exec', 'web', 'l'), 'nothing');
    assert.equal(wanted('exec', 'web', '--', 'ls', '-'), 'nothing');
    assert.equal(wanted('rm', '--', ''), 'pod-or-container');
  });

  it('offers options of the command and of the program, but no hidden ones', () => {
    assert.deepEqual(wanted('ps', '-'), [
      '--pod',
      '--state',
      '--socket',
      '--config',
      '--json',
      '--help',
    ]);
    assert.deepEqual(wanted('-'), ['--socket', '--config', '--json', '--help']);
  });

  it('knows what the value of an option is', () => {
    assert.equal(wanted('ps', '--pod', ''), 'pod');
    assert.deepEqual(wanted('ps', '--state', 'r'), ['running', 'exited']);
    assert.equal(wanted('run', '--log-dir', ''), 'files');
    assert.equal(wanted('--socket', ''), 'files');
    assert.equal(wanted('run', '--log-dir', '/var', ''), 'files');
    assert.equal(wanted('ps', '--pod=web', ''), 'nothing');
  });

  it('keeps the global options, which name the agent to ask', () => {
    const { globals } = readLine(program(), ['--config', 'a', 'exec', '--socket=b', '']);
    assert.deepEqual(globals, { config: 'a', socket: 'b' });
  });

  it('takes any line', () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom('', '-', '--', '--=', '--pod', 'ps', 'exec', 'rm', '__proto__', 'help'),
    );
    fc.assert(
      fc.property(fc.array(word), (words) => {
        assert.ok(
          ['words', 'objects', 'files', 'nothing'].includes(readLine(program(), words).wanted.kind),
        );
      }),
    );
  });
});
