/** Every terminal session in the documentation, run as it is written. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TestAgent } from '../../support/agent.js';
import { consoleSteps, difference } from '../../support/console-session.js';

const FILES = ['README.md', ...readdirSync('docs').map((name) => join('docs', name))].filter(
  (path) => path.endsWith('.md') && consoleSteps(readFileSync(path, 'utf8')).length > 0,
);
/** Commands that only look, and may look a moment too early. */
const LOOKS = /^pvecri (logs|ps|pods|stats|exec)\b/;
const PATIENCE_MS = 10_000;

describe('a session in the documentation', () => {
  let agent: TestAgent;
  let path: string;

  beforeEach(async () => {
    agent = new TestAgent();
    await agent.start();
    path = join(agent.folder, 'path');
    mkdirSync(path);
    // The agent of this test, and log folders that go with it.
    const command = [
      '#!/bin/sh',
      `if [ "$1" = run ]; then shift; set -- run --log-dir ${agent.logs} "$@"; fi`,
      `exec ${process.execPath} ${resolve('dist/pvecri.js')} --config ${agent.configFile} "$@"`,
    ];
    writeFileSync(join(path, 'pvecri'), `${command.join('\n')}\n`, { mode: 0o755 });
  });

  afterEach(async () => {
    // What a session that failed has left.
    run('pods=$(pvecri pods -q); [ -z "$pods" ] || pvecri rm -f $pods');
    assert.deepEqual(await agent.close(), []);
  });

  function run(command: string): string {
    const { stdout, error } = spawnSync('sh', ['-c', `exec 2>&1; ${command}`], {
      encoding: 'utf8',
      timeout: 60_000,
      env: { ...process.env, PATH: `${path}:${process.env['PATH'] ?? ''}`, NO_COLOR: '1' },
    });
    if (error) throw error;
    return stdout;
  }

  for (const file of FILES) {
    it(`of ${file}`, async () => {
      for (const { line, command, expected } of consoleSteps(readFileSync(file, 'utf8'))) {
        const deadline = Date.now() + PATIENCE_MS;
        for (;;) {
          const output = run(command);
          const wrong = difference(expected, output);
          if (wrong === undefined) break;
          if (!LOOKS.test(command) || Date.now() > deadline) {
            assert.fail(`${file}:${line}: ${command}\n  ${wrong}\n\n${output}`);
          }
          await sleep(200);
        }
      }
    });
  }
});
