import assert from 'node:assert/strict';
import { parseImageConfig } from '../../../src/core/image-config.js';

const diffId = `sha256:${'b'.repeat(64)}`;

function parse(config: unknown, rest: object = {}): ReturnType<typeof parseImageConfig> {
  const document = {
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: [diffId] },
    config,
    ...rest,
  };
  return parseImageConfig(Buffer.from(JSON.stringify(document)), 'config');
}

describe('parseImageConfig', () => {
  it('reads what a runtime acts on', () => {
    const { config, diffIds, platform } = parse({
      User: '1:2',
      Env: ['PATH=/bin', 'EMPTY=', 'A=b=c\nd'],
      Entrypoint: ['/bin/sh', '-c'],
      Cmd: ['echo\n'],
      WorkingDir: '/srv',
      Volumes: { '/data': {} },
      StopSignal: 'SIGQUIT',
      Labels: { b: '1', a: '2' },
      ExposedPorts: { '80/tcp': {} },
    });
    assert.deepEqual(diffIds, [diffId]);
    assert.equal(platform.architecture, 'amd64');
    assert.deepEqual(config, {
      user: '1:2',
      env: ['PATH=/bin', 'EMPTY=', 'A=b=c\nd'],
      entrypoint: ['/bin/sh', '-c'],
      cmd: ['echo\n'],
      workingDir: '/srv',
      volumes: ['/data'],
      stopSignal: 'SIGQUIT',
      labels: [
        ['b', '1'],
        ['a', '2'],
      ],
    });
  });

  it('takes null and nothing for empty, as docker writes them', () => {
    const empty = parse({}).config;
    assert.deepEqual(parse(null).config, empty);
    assert.deepEqual(parse(undefined).config, empty);
    assert.deepEqual(
      parse({ Env: null, Cmd: null, Labels: null, Volumes: null, User: null }).config,
      empty,
    );
  });

  it('keeps labels that look like keys of the runtime plain labels', () => {
    const labels = {
      'io.kubernetes.container.name': 'POD',
      'containerd.io/log-uri': 'binary:///bin/sh',
      'lxc.hook.pre-start': '/bin/sh',
      constructor: 'x',
    };
    const { config } = parse({ Labels: labels });
    assert.deepEqual(config.labels, Object.entries(labels));
    assert.deepEqual({ ...config, labels: [] }, parse({}).config);
    const text =
      '{"rootfs":{"diff_ids":[]},"config":{"Labels":{"__proto__":"x"},"__proto__":{"User":"0"}}}';
    const hostile = parseImageConfig(Buffer.from(text), 'config').config;
    assert.deepEqual(hostile.labels, [['__proto__', 'x']]);
    assert.equal(hostile.user, '');
  });

  const refused: Record<string, [unknown, RegExp]> = {
    'NUL in an argument': [{ Cmd: ['a\0b'] }, /Cmd\[0\] is not a string without NUL/],
    'NUL in the environment': [{ Env: ['A=\0'] }, /Env\[0\] is not a string without NUL/],
    'NUL in a label': [{ Labels: { a: '\0' } }, /Labels\["a"\] is not a string without NUL/],
    'an environment without a name': [{ Env: ['=x'] }, /"=x", which is not KEY=value/],
    'an environment without a value': [{ Env: ['x'] }, /"x", which is not KEY=value/],
    'a line break in the user': [{ User: 'a\nroot::0:0' }, /User contains a control character/],
    'a line break in the folder': [{ WorkingDir: '/\nlxc.hook=x' }, /control character/],
    'a line break in a volume': [{ Volumes: { '/\r': {} } }, /control character/],
    'a command that is a string': [{ Cmd: 'sh -c' }, /Cmd is not an array/],
    'labels that are numbers': [{ Labels: { a: 1 } }, /is not a string/],
    'a config that is an array': [[], /config.config is not an object/],
  };
  for (const [title, [config, message]] of Object.entries(refused)) {
    it(`refuses ${title}`, () => {
      assert.throws(() => parse(config), { kind: 'invalid-argument', message });
    });
  }

  it('refuses diff_ids that are none', () => {
    for (const wrong of ['', 'sha256:..', `sha256:${'B'.repeat(64)}`, '/etc']) {
      assert.throws(() => parse({}, { rootfs: { diff_ids: [wrong] } }), /is no sha256 digest/);
    }
    assert.throws(() => parse({}, { rootfs: undefined }), /rootfs is not an object/);
  });
});
