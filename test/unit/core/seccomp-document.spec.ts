import assert from 'node:assert/strict';
import fc from 'fast-check';
import { RuntimeError } from '../../../src/core/errors.js';
import {
  parseSeccompDocument,
  type SeccompDocument,
  type SeccompHost,
} from '../../../src/core/seccomp-document.js';

const HOST: SeccompHost = { machine: 'x64', kernel: '6.12.4-pve', capabilities: [21] };
const ALLOW = '"defaultAction":"SCMP_ACT_ALLOW"';

const read = (text: string, host: SeccompHost = HOST): SeccompDocument =>
  parseSeccompDocument(Buffer.from(text), 'profile', host);
const rule = (text: string, host?: SeccompHost): unknown =>
  read(`{${ALLOW},"syscalls":[${text}]}`, host).profile.rules;

describe('a seccomp profile file', () => {
  it('in the form of the OCI specification', () => {
    const { profile, flags } = read(`{
      "defaultAction": "SCMP_ACT_ERRNO",
      "defaultErrnoRet": 38,
      "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_S390X"],
      "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
      "listenerPath": "",
      "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
          {"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
          {"index": 5, "value": 18446744073709551615, "op": "SCMP_CMP_NE"}]}
      ]}`);
    assert.deepEqual(profile, {
      fallback: { action: 'errno', errno: 38 },
      architectures: ['x86'],
      rules: [
        { names: ['read', 'write'], action: 'allow' },
        {
          names: ['clone'],
          action: 'allow',
          args: [
            { index: 0, op: 'masked-eq', mask: 2114060288n, value: 0n },
            { index: 5, op: 'ne', value: 18446744073709551615n },
          ],
        },
      ],
    });
    assert.equal(flags, 7);
  });

  it('in the form of docker, of which only what is meant for this host counts', () => {
    const { profile } = read(`{
      "defaultAction": "SCMP_ACT_ERRNO",
      "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
      "syscalls": [
        {"name": "a", "action": "SCMP_ACT_ALLOW", "comment": "why", "includes": {}, "excludes": null},
        {"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}},
        {"names": ["d"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_BPF", "CAP_SYS_ADMIN"]}},
        {"names": ["e"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_BPF"]}},
        {"names": ["f"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390", "s390x"]}},
        {"names": ["g"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
        {"names": ["h"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"names": ["i"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["j"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.13"}},
        {"names": ["k"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "6.12"}},
        {"names": ["l"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "errno": "ENOSYS"}
      ]}`);
    assert.deepEqual(profile.architectures, ['x86', 'x32']);
    const left = profile.rules.flatMap(({ names }) => names).join('');
    assert.equal(left, 'abegil');
    assert.deepEqual(profile.rules.at(-1), { names: ['l'], action: 'errno', errno: 38 });
  });

  it('knows every action', () => {
    const actions = {
      ALLOW: 'allow',
      ERRNO: 'errno',
      KILL: 'kill-thread',
      KILL_THREAD: 'kill-thread',
      KILL_PROCESS: 'kill-process',
      LOG: 'log',
      TRACE: 'trace',
      TRAP: 'trap',
    };
    for (const [name, action] of Object.entries(actions)) {
      assert.equal(read(`{"defaultAction":"SCMP_ACT_${name}"}`).profile.fallback.action, action);
    }
  });

  it('knows every operator', () => {
    for (const op of ['EQ', 'NE', 'LT', 'LE', 'GT', 'GE']) {
      assert.deepEqual(
        rule(
          `{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":1,"value":9007199254740993,"op":"SCMP_CMP_${op}"}]}`,
        ),
        [
          {
            names: ['a'],
            action: 'log',
            args: [{ index: 1, op: op.toLowerCase(), value: 9007199254740993n }],
          },
        ],
      );
    }
  });

  const refused: [what: string, text: string, message: RegExp][] = [
    ['no JSON', '{', /^profile is not JSON/],
    ['no object', '[]', /^profile is not an object/],
    ['an empty file', '', /^profile is not JSON/],
    ['a key twice', `{${ALLOW},${ALLOW}}`, /has key "defaultAction" twice/],
    ['no default', '{}', /^profile\.defaultAction is missing/],
    [
      'an unknown default',
      '{"defaultAction":"ALLOW"}',
      /^profile\.defaultAction "ALLOW" is unknown/,
    ],
    ['an unknown field', `{${ALLOW},"sysCalls":[]}`, /^profile has field "sysCalls"/],
    ['a default errno without use', `{${ALLOW},"defaultErrnoRet":1}`, /defaultErrnoRet is given/],
    [
      'an unknown architecture',
      `{${ALLOW},"architectures":["x86"]}`,
      /^profile\.architectures "x86" is unknown/,
    ],
    [
      'two lists of architectures',
      `{${ALLOW},"architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}`,
      /architectures and archMap/,
    ],
    ['an unknown flag', `{${ALLOW},"flags":["SECCOMP_FILTER_FLAG_NEW"]}`, /^profile\.flags/],
  ];
  const rules: [what: string, text: string, message: RegExp][] = [
    ['no name', '{"action":"SCMP_ACT_TRAP"}', /syscalls\[0\]\.names is empty/],
    ['two kinds of names', '{"name":"a","names":["b"],"action":"SCMP_ACT_TRAP"}', /name and names/],
    [
      'a name that is none',
      '{"names":["a b"],"action":"SCMP_ACT_TRAP"}',
      /"a b", which is no name/,
    ],
    ['no action', '{"names":["a"]}', /syscalls\[0\]\.action "" is unknown/],
    [
      'an errno too large',
      '{"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":4095}',
      /0 to 4094/,
    ],
    ['a negative errno', '{"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":-1}', /0 to 4094/],
    ['an errno without use', '{"names":["a"],"action":"SCMP_ACT_KILL","errnoRet":1}', /no use/],
    ['an unknown errno', '{"names":["a"],"action":"SCMP_ACT_ERRNO","errno":"EX"}', /errno "EX"/],
    [
      'two errnos',
      '{"names":["a"],"action":"SCMP_ACT_ERRNO","errno":"EPERM","errnoRet":38}',
      /EPERM is 1, but errnoRet is 38/,
    ],
    [
      'an argument beyond the last',
      '{"names":["a"],"action":"SCMP_ACT_TRAP","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}',
      /args\[0\]\.index is not an integer from 0 to 5/,
    ],
    [
      'a value beyond 64 bits',
      '{"names":["a"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"op":"SCMP_CMP_EQ","value":18446744073709551616}]}',
      /args\[0\]\.value is not an integer from 0/,
    ],
    [
      'a value that is no integer',
      '{"names":["a"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"op":"SCMP_CMP_EQ","value":1.5}]}',
      /args\[0\]\.value is not an integer/,
    ],
    [
      'an unknown operator',
      '{"names":["a"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"op":"=="}]}',
      /args\[0\]\.op "==" is unknown/,
    ],
    [
      'an argument compared twice',
      '{"names":["a"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"op":"SCMP_CMP_GE"},{"index":0,"op":"SCMP_CMP_LE"}]}',
      /compares argument 0 twice/,
    ],
    [
      'an unknown capability',
      '{"names":["a"],"action":"SCMP_ACT_TRAP","includes":{"caps":["CAP_X"]}}',
      /includes\.caps "CAP_X" is unknown/,
    ],
    [
      'a kernel that is none',
      '{"names":["a"],"action":"SCMP_ACT_TRAP","excludes":{"minKernel":"new"}}',
      /excludes\.minKernel "new" is unknown/,
    ],
    [
      'an unknown condition',
      '{"names":["a"],"action":"SCMP_ACT_TRAP","includes":{"kernel":"1"}}',
      /includes has field "kernel"/,
    ],
    [
      'a hostile wealth of names',
      `{"names":${JSON.stringify(Array(2049).fill('read'))},"action":"SCMP_ACT_TRAP"}`,
      /2048 system calls/,
    ],
    [
      'a hostile wealth of conditions',
      `{"names":${JSON.stringify(Array(257).fill('read'))},"action":"SCMP_ACT_TRAP","args":[{"index":0,"op":"SCMP_CMP_EQ"}]}`,
      /256 of them with args/,
    ],
  ];
  for (const [what, text, message] of refused) {
    it(`with ${what} is refused`, () => {
      assert.throws(() => read(text), { kind: 'invalid-argument', message });
    });
  }
  for (const [what, text, message] of rules) {
    it(`with ${what} is refused`, () => {
      assert.throws(() => rule(text), { kind: 'invalid-argument', message });
    });
  }

  it('that wants a notifier is refused, for there is none', () => {
    for (const text of [
      '{"defaultAction":"SCMP_ACT_NOTIFY"}',
      `{${ALLOW},"syscalls":[{"names":["a"],"action":"SCMP_ACT_NOTIFY"}]}`,
      `{${ALLOW},"listenerPath":"/run/x"}`,
      `{${ALLOW},"flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}`,
    ]) {
      assert.throws(() => read(text), { kind: 'unimplemented', message: /notifier/ });
    }
  });

  it('that is too large is refused before it is read', () => {
    assert.throws(() => read(' '.repeat((1 << 20) + 1)), /larger than 1048576 bytes/);
  });

  it('is read or refused by name, whatever it holds', () => {
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom('SCMP_ACT_ERRNO', 'SCMP_ACT_ALLOW', 'read', 'SCMP_CMP_EQ', '\0integer:'),
        fc.jsonValue({ maxDepth: 1 }),
        fc.array(tie('any'), { maxLength: 3 }),
        fc.dictionary(
          fc.constantFrom(
            ...'defaultAction defaultErrnoRet architectures archMap flags syscalls names name action args index value op includes excludes caps __proto__'.split(
              ' ',
            ),
          ),
          tie('any'),
        ),
      ),
    })).any;
    fc.assert(
      fc.property(value, (document) => {
        try {
          const { profile } = read(JSON.stringify(document));
          assert.ok(Array.isArray(profile.rules));
        } catch (error) {
          assert.ok(error instanceof RuntimeError, String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});
