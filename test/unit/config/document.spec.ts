/** The manual and the example say what the schema says. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { renderExample, renderManual } from '../../../src/config/document.js';
import { configKeys, configSchema } from '../../../src/config/schema.js';

const project = join(import.meta.dirname, '../../..');
const committed = (name: string) => readFileSync(join(project, name), 'utf8');

describe('the configuration manual', () => {
  it('is fresh (else run scripts/gen-config-doc)', () => {
    assert.equal(committed('docs/configuration.md'), renderManual());
    assert.equal(committed('examples/config.toml'), renderExample());
  });

  it('has a section for every key', () => {
    const sections = renderManual().match(/^## .*$/gm);
    assert.deepEqual(
      sections,
      configKeys.map(({ path }) => `## \`${path}\``),
    );
  });
});

describe('the example file', () => {
  it('is all defaults, as it stands and with every key uncommented', () => {
    const example = renderExample();
    assert.deepEqual(configSchema.parse(parse(example)), configSchema.parse({}));
    const uncommented = example.replace(/^# (?=\w+ = )/gm, '');
    // The parser's tables have no prototype, which deepEqual would see.
    const parsed: unknown = JSON.parse(JSON.stringify(parse(uncommented)));
    assert.deepEqual(parsed, configSchema.parse({}));
  });
});
