/** What a payload is and sees: descriptors, environment, identity, privileges. */
import assert from 'node:assert/strict';
import { readFileSync, readlinkSync, readdirSync, statSync } from 'node:fs';
import type { ProcessSpec } from '../../../src/core/model.js';
import { DEFAULT_CAPABILITIES, LxcFixture } from '../../support/lxc-fixture.js';
import { until } from '../../support/processes.js';

const DEFAULT_MASK = DEFAULT_CAPABILITIES.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
const hex = (mask: bigint): string => mask.toString(16).padStart(16, '0');

describe('payload', () => {
  let fixture: LxcFixture;
  before(() => {
    fixture = new LxcFixture();
  });
  after(async () => {
    await fixture.close();
  });

  /** Fields of /proc/self/status of a process the container runs. */
  const status = async (
    how: 'payload' | 'exec',
    process: Partial<ProcessSpec>,
  ): Promise<Map<string, string>> => {
    let text;
    if (how === 'payload')
      text = await fixture.output('', {
        process: { argv: ['/bin/cat', '/proc/self/status'], ...process },
      });
    else {
      const spec = fixture.spec('exec sleep 100');
      await fixture.run(spec);
      const result = await fixture.exec(spec, ['/bin/cat', '/proc/self/status'], {}, process);
      text = Buffer.from(result.stdout).toString();
      await fixture.engine.signal(spec.id, spec.runDirectory, 9);
    }
    return new Map(text.split('\n').map((line) => line.split(/:\s*/, 2) as [string, string]));
  };

  it('has descriptors 0, 1 and 2 and no other, seen from the host', async () => {
    const spec = fixture.spec('exec sleep 100');
    const { pid } = await fixture.run(spec);
    assert.deepEqual(readdirSync(`/proc/${pid}/fd`).sort(), ['0', '1', '2']);
    assert.match(readlinkSync(`/proc/${pid}/fd/0`), /\/dev\/null$/);
    assert.match(readlinkSync(`/proc/${pid}/fd/1`), /^pipe:/);
    const own = statSync(`/proc/${pid}/fd/0`);
    const host = statSync('/dev/null');
    assert.equal(own.rdev, host.rdev);
    assert.notEqual(own.dev, host.dev, "the host's own null device was passed in");
  });

  it('has exactly the environment it was given', async () => {
    const env = ['A=1', 'B=two words', 'C=line\nbreak', 'EMPTY='];
    const spec = fixture.spec('', { process: { argv: ['/bin/sleep', '100'], env } });
    const { pid } = await fixture.run(spec);
    assert.deepEqual(readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').slice(0, -1), env);
  });

  for (const how of ['payload', 'exec'] as const)
    describe(`of ${how}`, () => {
      it('as root has the default capabilities in three sets and none in the others', async () => {
        const fields = await status(how, {});
        for (const set of ['CapPrm', 'CapEff', 'CapBnd'])
          assert.equal(fields.get(set), hex(DEFAULT_MASK), set);
        for (const set of ['CapInh', 'CapAmb']) assert.equal(fields.get(set), hex(0n), set);
        assert.equal(fields.get('NoNewPrivs'), '0');
        assert.equal(fields.get('Seccomp'), '0');
      });

      it('has nothing when nothing is given', async () => {
        const fields = await status(how, { capabilities: [] });
        for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapInh', 'CapAmb'])
          assert.equal(fields.get(set), hex(0n), set);
      });

      it('as another user has its ids, its groups and no effective capability', async () => {
        const fields = await status(how, {
          uid: 1000,
          gid: 1001,
          supplementalGroups: [5, 4000000000],
        });
        assert.equal(fields.get('Uid'), '1000\t1000\t1000\t1000');
        assert.equal(fields.get('Gid'), '1001\t1001\t1001\t1001');
        assert.equal(fields.get('Groups')?.trim(), '5 4000000000');
        for (const set of ['CapPrm', 'CapEff', 'CapInh', 'CapAmb'])
          assert.equal(fields.get(set), hex(0n), set);
        assert.equal(fields.get('CapBnd'), hex(DEFAULT_MASK));
      });

      for (const noNewPrivileges of [true, false])
        for (const uid of [0, 1000])
          it(`of uid ${uid} runs under a filter, ${noNewPrivileges ? 'with' : 'without'} no_new_privs`, async () => {
            const seccomp = fixture.spawner.addon.compileSeccomp({
              fallback: { action: 'errno', errno: 1 },
              architectures: [],
              rules: [
                { names: ['mkdir', 'mkdirat'], action: 'errno', errno: 13 },
                {
                  names: [
                    ...[
                      'execve',
                      'brk',
                      'arch_prctl',
                      'set_tid_address',
                      'set_robust_list',
                      'rseq',
                    ],
                    ...['prlimit64', 'readlink', 'readlinkat', 'getrandom', 'mprotect', 'openat'],
                    ...[
                      'open',
                      'read',
                      'write',
                      'sendfile',
                      'close',
                      'exit_group',
                      'capset',
                      'capget',
                    ],
                    ...[
                      'fstat',
                      'newfstatat',
                      'mmap',
                      'munmap',
                      'getuid',
                      'prctl',
                      'poll',
                      'seccomp',
                    ],
                  ],
                  action: 'allow',
                },
              ],
            });
            const fields = await status(how, { seccomp, noNewPrivileges, uid });
            assert.equal(fields.get('Seccomp'), '2');
            assert.equal(fields.get('NoNewPrivs'), noNewPrivileges ? '1' : '0');
            assert.equal(fields.get('CapEff'), hex(uid === 0 ? DEFAULT_MASK : 0n));
          });

      it('blocks and ignores no signal', async () => {
        const fields = await status(how, {});
        assert.equal(fields.get('SigBlk'), hex(0n));
        assert.equal(fields.get('SigIgn'), hex(0n));
      });
    });

  it('cannot run under a filter that denies execve', async () => {
    const seccomp = fixture.spawner.addon.compileSeccomp({
      fallback: { action: 'errno', errno: 38 },
      architectures: [],
      rules: [{ names: ['write', 'exit_group', 'prctl', 'poll'], action: 'allow' }],
    });
    const spec = fixture.spec('', { process: { seccomp, noNewPrivileges: true } });
    await fixture.create(spec);
    await assert.rejects(
      fixture.engine.start(spec.id, spec.runDirectory),
      /cannot run "\/bin\/sh": function not implemented \(ENOSYS\)/,
    );
  });

  it('of another user can open its stdout by name', async () => {
    const text = await fixture.output('echo by name > /dev/stdout', {
      process: { uid: 1000, gid: 1000 },
    });
    assert.equal(text, 'by name');
  });

  it('has the oom score it was given, and else that of the agent', async () => {
    const script = 'cat /proc/self/oom_score_adj';
    assert.equal(await fixture.output(script, { process: { oomScoreAdj: 321 } }), '321');
    const own = readFileSync('/proc/self/oom_score_adj', 'utf8').trim();
    assert.equal(await fixture.output(script), own);
  });

  it('is process 1 of its namespace and sees no other', async () => {
    assert.equal(await fixture.output('echo $$; ls -d /proc/[0-9]*'), '1\n/proc/1');
  });

  it('starts in a working directory that is made when it is missing', async () => {
    assert.equal(
      await fixture.output('pwd', { process: { cwd: '/not/yet/there' } }),
      '/not/yet/there',
    );
  });

  it('reaches no cgroup of the host and cannot write its own', async () => {
    const text = await fixture.output(
      'cat /proc/self/cgroup | tail -1; mkdir /sys/fs/cgroup/x; echo $?; ls /sys/fs/cgroup/cgroup.procs',
      { process: { capabilities: DEFAULT_CAPABILITIES.concat(21) } },
    );
    assert.equal(text, '0::/\n1\n/sys/fs/cgroup/cgroup.procs');
  });

  it('of another user can open its terminal by name', async () => {
    const spec = fixture.spec('echo by name > $(tty); cat /etc/passwd > /dev/null; stty size', {
      process: { tty: true, uid: 1000, gid: 1000 },
    });
    await fixture.run(spec);
    assert.equal((await fixture.wait(spec)).exitCode, 0);
    assert.equal(fixture.log(spec)[0]?.[2].trim(), 'by name');
  });

  it('has an open stdin when one is wanted', async () => {
    const spec = fixture.spec('read line; echo $?', { stdin: true });
    const { pid } = await fixture.run(spec);
    assert.match(readlinkSync(`/proc/${pid}/fd/0`), /^pipe:/);
    assert.deepEqual(readdirSync(`/proc/${pid}/fd`).sort(), ['0', '1', '2']);
    const state = await fixture.engine.inspect(spec.id, spec.directory, spec.runDirectory);
    assert.equal(state.state, 'running');
  });

  it('gets a terminal of its own devpts, which is its console too', async () => {
    const spec = fixture.spec(
      'tty; test -t 0 && test -t 1 && test -t 2 && echo all; exec sleep 100',
      {
        process: { tty: true },
      },
    );
    const { pid } = await fixture.run(spec);
    await until(() => fixture.log(spec).length === 2);
    assert.deepEqual(
      fixture.log(spec).map(([stream, , text]) => [stream, text.trim()]),
      [
        ['stdout', '/dev/pts/0'],
        ['stdout', 'all'],
      ],
    );
    assert.deepEqual(readdirSync(`/proc/${pid}/fd`).sort(), ['0', '1', '2']);
    const same = await fixture.exec(spec, ['/bin/sh', '-c', 'echo seen > /dev/console']);
    assert.equal(same.exitCode, 0);
    await until(() => fixture.log(spec).length === 3);
    assert.equal(fixture.log(spec)[2]?.[2].trim(), 'seen');
  });
});
