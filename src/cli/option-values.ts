/** Argument parsers for commander; a wrong value is a usage failure that names the option. */
import { InvalidArgumentError } from 'commander';
import { parseDuration } from './human-units.js';

export function duration(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined) {
    throw new InvalidArgumentError('Expected a time such as 10s, 1m30s or 500ms.');
  }
  return milliseconds;
}

export function count(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a number from 0.');
  return Number(text);
}

/** `key=value`, given as often as wanted. */
export function label(text: string, before: Map<string, string> | undefined): Map<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('Expected KEY=VALUE.');
  return new Map(before).set(text.slice(0, at), text.slice(at + 1));
}

/** Text for the end of a command's help. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;
}
