/** Writes the files that are made from the configuration schema, or checks that they are fresh. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderExample, renderManual } from '../src/config/document.js';

const project = join(import.meta.dirname, '..');
const made = [
  ['docs/configuration.md', renderManual()],
  ['examples/config.toml', renderExample()],
] as const;

for (const [name, text] of made) {
  const path = join(project, name);
  if (!process.argv.includes('--check')) {
    writeFileSync(path, text);
  } else if (read(path) !== text) {
    console.error(`${name} is not what the schema says: run scripts/gen-config-doc`);
    process.exitCode = 1;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
