/** What may stand at the end of an unfinished command line, read from the commands' own definitions. */
import type { Argument, Command, Option } from 'commander';

/** Objects to choose from, by the placeholder that an argument or option has in the help. */
export type ObjectKind = 'container' | 'pod' | 'image' | 'pod-or-container' | 'any';

export type Wanted =
  | { kind: 'words'; words: Candidate[] }
  | { kind: 'objects'; objects: ObjectKind }
  | { kind: 'files' }
  | { kind: 'nothing' };

export interface Candidate {
  word: string;
  description: string;
}

export interface Reading {
  wanted: Wanted;
  /** Global options that stand on the line: they decide which agent is asked. */
  globals: { config?: string; socket?: string };
}

const PLACEHOLDERS: ReadonlyMap<string, Wanted> = new Map([
  ['container', { kind: 'objects', objects: 'container' }],
  ['pod', { kind: 'objects', objects: 'pod' }],
  ['image', { kind: 'objects', objects: 'image' }],
  ['pod-or-container', { kind: 'objects', objects: 'pod-or-container' }],
  ['id', { kind: 'objects', objects: 'any' }],
  ['file', { kind: 'files' }],
  ['path', { kind: 'files' }],
  ['folder', { kind: 'files' }],
]);

const NOTHING: Wanted = { kind: 'nothing' };

/** `words` are what stands behind the command's own name; the last one is being typed, '' for a new one. */
export function readLine(program: Command, words: readonly string[]): Reading {
  const before = words.slice(0, -1);
  const last = words.at(-1) ?? '';
  const globals: Reading['globals'] = {};
  let command = program;
  let position = 0;
  let open: Option | undefined;
  for (const [index, word] of before.entries()) {
    if (open !== undefined) {
      keepGlobal(globals, open, word);
      open = undefined;
    } else if (word === '--') {
      return { wanted: argumentAt(command, position + before.length - index - 1), globals };
    } else if (word.startsWith('-') && word !== '-') {
      const [flag, value] = splitFlag(word);
      const option = findOption(command, program, flag);
      if (option !== undefined && takesValue(option)) {
        if (value === undefined) open = option;
        else keepGlobal(globals, option, value);
      }
    } else {
      const child = command === program ? childOf(program, word) : undefined;
      if (child === undefined) position++;
      else command = child;
    }
  }
  return { wanted: wantedNow(program, command, position, open, last), globals };
}

function wantedNow(
  program: Command,
  command: Command,
  position: number,
  open: Option | undefined,
  last: string,
): Wanted {
  if (open !== undefined) return valueOf(open);
  // `--option=value` is left alone: shells disagree on what the word is then.
  if (last.startsWith('-')) return { kind: 'words', words: optionsOf(command, program) };
  if (command !== program) return argumentAt(command, position);
  if (position > 0) return NOTHING;
  return { kind: 'words', words: commandsOf(program) };
}

function argumentAt(command: Command, position: number): Wanted {
  const list = command.registeredArguments;
  const argument: Argument | undefined = list[position] ?? list.at(-1);
  if (argument === undefined || (list[position] === undefined && !argument.variadic)) {
    return NOTHING;
  }
  if (argument.argChoices !== undefined) return choices(argument.argChoices);
  return PLACEHOLDERS.get(argument.name()) ?? NOTHING;
}

function valueOf(option: Option): Wanted {
  if (option.argChoices !== undefined) return choices(option.argChoices);
  const placeholder = /[<[]([^>\].]+)/.exec(option.flags)?.[1] ?? '';
  return PLACEHOLDERS.get(placeholder.toLowerCase()) ?? NOTHING;
}

function choices(words: readonly string[]): Wanted {
  return { kind: 'words', words: words.map((word) => ({ word, description: '' })) };
}

function optionsOf(command: Command, program: Command): Candidate[] {
  const options = command === program ? program.options : [...command.options, ...program.options];
  return [
    ...options
      .filter(({ hidden, long }) => !hidden && long !== undefined)
      .map(({ long, description }) => ({ word: long ?? '', description })),
    { word: '--help', description: 'print help' },
  ];
}

function commandsOf(program: Command): Candidate[] {
  const listed = program
    .createHelp()
    .visibleCommands(program)
    .map((command) => ({ word: command.name(), description: command.description() }));
  return [...listed, { word: 'agent', description: 'run the agent itself' }];
}

function childOf(program: Command, name: string): Command | undefined {
  return program.commands.find((child) => child.name() === name || child.aliases().includes(name));
}

function findOption(command: Command, program: Command, flag: string): Option | undefined {
  return [...command.options, ...program.options].find(
    ({ short, long }) => short === flag || long === flag,
  );
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function splitFlag(word: string): [flag: string, value: string | undefined] {
  const at = word.startsWith('--') ? word.indexOf('=') : -1;
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function keepGlobal(globals: Reading['globals'], option: Option, value: string): void {
  if (option.long === '--config') globals.config = value;
  if (option.long === '--socket') globals.socket = value;
}
