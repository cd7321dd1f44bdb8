/** Terminal sessions in Markdown: found, and compared with what really comes out. */

export interface ConsoleStep {
  /** Line in the file, counted from 1. */
  line: number;
  command: string;
  expected: string[];
}

/** The steps of all ```console blocks, in order: `# COMMAND`, then its output up to the next one. */
export function consoleSteps(markdown: string): ConsoleStep[] {
  const steps: ConsoleStep[] = [];
  let inside = false;
  for (const [index, text] of markdown.split('\n').entries()) {
    if (text.startsWith('```')) inside = !inside && text.trim() === '```console';
    else if (inside && text.startsWith('# ')) {
      // What stands far to the right of a command is a remark to the reader.
      const command = text.slice(2).replace(/ {3,}\S.*$/, '');
      steps.push({ line: index + 1, command, expected: [] });
    } else if (inside) steps.at(-1)?.expected.push(text);
  }
  return steps;
}

/** What differs from run to run, each with a pattern of its own. */
const VARIABLE: readonly (readonly [RegExp, string])[] = [
  [/^…/, '.*'],
  [/^[0-9a-f]{13,64}\b/, '[0-9a-f]{13,64}'],
  [/^\d+\.\d+\.\d+\.\d+/, '\\d+\\.\\d+\\.\\d+\\.\\d+'],
  [/^\d+(\.\d+)?([KMGT]iB|B)\b/, '\\d+(\\.\\d+)?([KMGT]iB|B)'],
  [/^\d+(\.\d+)?( ?(ms|s|m|h|d))\b/, '\\d+(\\.\\d+)?( ?(ms|s|m|h|d))(\\d+s)?'],
  [/^\s+/, '\\s+'],
];

/** A pattern for one line of expected output. */
export function linePattern(expected: string): RegExp {
  let pattern = '';
  let rest = expected;
  let atWordStart = true;
  while (rest !== '') {
    const found = VARIABLE.find(
      ([token, replacement]) =>
        (atWordStart || replacement === '\\s+' || replacement === '.*') && token.test(rest),
    );
    if (found) {
      const [token, replacement] = found;
      pattern += replacement;
      rest = rest.replace(token, '');
      atWordStart = replacement === '\\s+';
    } else {
      const [character = ''] = rest;
      pattern += character.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&');
      rest = rest.slice(1);
      atWordStart = !/\w/.test(character);
    }
  }
  return new RegExp(`^${pattern}\\s*$`);
}

/** Undefined when the output is as told; otherwise the first line that is not. */
export function difference(expected: readonly string[], output: string): string | undefined {
  const lines = output === '' ? [] : output.replace(/\n$/, '').split('\n');
  for (let index = 0; index < Math.max(expected.length, lines.length); index++) {
    const wanted = expected[index];
    const got = lines[index];
    if (wanted === undefined) return `unexpected: ${got ?? ''}`;
    if (got === undefined) return `missing: ${wanted}`;
    if (!linePattern(wanted).test(got)) return `expected: ${wanted}\n  printed: ${got}`;
  }
  return undefined;
}
