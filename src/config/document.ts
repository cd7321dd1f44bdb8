/** The manual of the configuration and the example file, made from the schema. */
import { configKeys } from './schema.js';
import type { ConfigKey, ConfigValue } from './schema.js';

const WIDTH = 100;

/** docs/configuration.md */
export function renderManual(): string {
  const parts = [
    '# Configuration',
    'Made from `src/config/schema.ts` by `scripts/gen-config-doc`: change it there.',
    [
      'The agent reads `/etc/pvecri/config.toml`, or the file given with `--config`, and then the drop-ins',
      '`config.d/*.toml` in the folder of that file, in the order of their names. The default file may be',
      'absent; a file given by name must exist. Tables are merged key by key; any other value of a later',
      'file replaces that of an earlier one. Every file must be valid by itself. Unknown keys are refused,',
      'with the nearest known one named. `pvecri agent --check-config` checks the files and tells all',
      'problems at once.',
    ].join('\n'),
    [
      'A reload is SIGHUP (`systemctl reload pvecri`). When it finds other keys changed than those that',
      'take effect with a reload, it names them in the log and they wait for a restart. A reload that finds',
      'a bad file changes nothing. Neither touches pods.',
    ].join('\n'),
    'An example with every key: [config.toml](../examples/config.toml).',
    ...configKeys.map(renderKey),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** examples/config.toml: every key at its default, commented out. */
export function renderExample(): string {
  const lines = [
    '# Every key of pvecri with its default. Keys marked "reloadable" take effect with SIGHUP.',
    '# Copy what you change to /etc/pvecri/config.toml, or to a file in /etc/pvecri/config.d.',
  ];
  let section = '';
  for (const key of configKeys) {
    const { table, name } = split(key.path);
    if (table !== section) {
      lines.push('', `[${table}]`);
      section = table;
    }
    const more = key.reloadable ? ' (reloadable)' : '';
    const text = key.description.replaceAll('`', '"') + more;
    lines.push('', ...wrap(text, WIDTH - 2).map((line) => `# ${line}`));
    lines.push(`# ${name} = ${renderValue(key.default)}`);
  }
  return `${lines.join('\n')}\n`;
}

function renderKey(key: ConfigKey): string {
  const effect = key.reloadable ? 'with a reload' : 'with a restart';
  return [
    `## \`${key.path}\``,
    wrap(key.description, WIDTH).join('\n'),
    [
      `- Default: \`${renderValue(key.default)}\``,
      `- Takes effect: ${effect}`,
      `- Value: ${code(key.expects)}`,
    ].join('\n'),
  ].join('\n\n');
}

/** Quoted words as code; a quoted sign within a sentence included. */
function code(text: string): string {
  return text.replace(/"[^"]*"/g, (quoted) => `\`${quoted}\``);
}

function split(path: string): { table: string; name: string } {
  const at = path.lastIndexOf('.');
  return { table: path.slice(0, Math.max(at, 0)), name: path.slice(at + 1) };
}

/** TOML's basic strings, integers and arrays read as JSON's do. */
function renderValue(value: ConfigValue): string {
  return Array.isArray(value) ? `[${value.map(renderValue).join(', ')}]` : JSON.stringify(value);
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else {
      lines.push(word);
    }
  }
  return lines;
}
