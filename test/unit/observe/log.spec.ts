/** The logger itself, writing to a real descriptor. */
import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeError, wrap } from '../../../src/core/errors.js';
import { createLogger } from '../../../src/observe/log.js';
import type { AgentLogger, LogLevel } from '../../../src/observe/log.js';
import { withTempFolder } from '../../support/temp.js';

async function logged(
  level: LogLevel,
  work: (log: AgentLogger) => void,
  stream: (fd: number) => string | undefined = () => undefined,
): Promise<string> {
  return withTempFolder((folder) => {
    const path = join(folder, 'log');
    const fd = openSync(path, 'w');
    try {
      work(createLogger({ level, fd, env: { JOURNAL_STREAM: stream(fd) } }));
      return readFileSync(path, 'utf8');
    } finally {
      closeSync(fd);
    }
  });
}

describe('createLogger', () => {
  it('writes for journald only when JOURNAL_STREAM names the very descriptor', async () => {
    const event = (log: AgentLogger): void => {
      log.warn({ id: 'x' }, 'hello');
    };
    const own = await logged('info', event, (fd) => {
      const { dev, ino } = fstatSync(fd);
      return `${dev}:${ino}`;
    });
    assert.equal(own, '<4>hello id=x\n');
    const other = await logged('info', event, () => '1:2');
    assert.match(other, /^\d{4}-\d\d-\d\dT[\d:.]+Z WARN {2}hello id=x\n$/);
  });

  it('changes its level while it runs', async () => {
    const output = await logged('warn', (log) => {
      log.info({}, 'one');
      log.setLevel('trace');
      log.trace({}, 'two');
      log.setLevel('error');
      log.warn({}, 'three');
    });
    assert.match(output, /^\S+ TRACE two\n$/);
  });

  it('shows a stack only for what nobody foresaw', async () => {
    const output = await logged('info', (log) => {
      const cause = Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' });
      log.error({ err: wrap(cause, 'cannot read x', 'not-found') }, 'foreseen');
      log.error({ err: new TypeError('y is not a function') }, 'bug');
      log.error({ err: new RuntimeError('internal', 'odd') }, 'bug');
    });
    const [foreseen, bug, internal] = output.split('\n');
    assert.match(
      foreseen ?? '',
      /foreseen err="cannot read x: ENOENT: no such file" err.kind=not-found$/,
    );
    assert.match(bug ?? '', /err="y is not a function" err.type=TypeError err.stack=".*at /);
    assert.match(internal ?? '', /err=odd err.kind=internal err.stack=/);
  });

  it('survives fields it cannot serialise, and fields named like its own', async () => {
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    const output = await logged('info', (log) => {
      log.info({ circular, big: 12345678901234567890n, errors: [new Error('inner')] }, '100%d');
      log.info({ bad: { toJSON: () => assert.fail('refused') } }, 'bad');
      log.info({ level: 60, time: 1, msg: 'forged' }, 'real');
    });
    const lines = output.trimEnd().split('\n');
    assert.equal(lines.length, 3);
    assert.match(lines[0] ?? '', /INFO {2}100%d .*big=12345678901234567890.*inner/);
    assert.match(lines[2] ?? '', /INFO {2}real level=60 time=1 msg=forged$/);
  });
});
