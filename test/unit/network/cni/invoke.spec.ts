/** How outcomes of a plugin read as errors. */
import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RuntimeError } from '../../../../src/core/errors.js';
import { findPlugin, invokePlugin } from '../../../../src/network/cni/invoke.js';
import type { Invocation } from '../../../../src/network/cni/invoke.js';
import type { RunOptions, RunResult } from '../../../../src/native/process.js';
import { withTempFolder } from '../../../support/temp.js';

const bytes = (text: string) => Buffer.from(text);

async function invoke(output: Partial<RunResult>, change: Partial<Invocation> = {}) {
  return withTempFolder(async (folder) => {
    await writeFile(join(folder, 'plug'), '', { mode: 0o755 });
    const seen: RunOptions[] = [];
    const result = await invokePlugin(
      (plugin) => {
        seen.push(plugin);
        return Promise.resolve({
          status: { code: 0, signal: null },
          stdout: bytes(''),
          stderr: bytes(''),
          truncated: false,
          ...output,
        });
      },
      {
        command: 'ADD',
        network: 'pods',
        type: 'plug',
        config: { a: 1 },
        containerId: 'c1',
        netnsPath: '/ns',
        ifName: 'eth0',
        args: 'A=1;B=2',
        binDirs: ['/nonexistent', folder],
        timeoutMs: 5,
        guardFd: 9,
        ...change,
      },
    );
    return { result, plugin: seen[0], folder };
  });
}

const failure = async (output: Partial<RunResult>) => {
  try {
    await invoke(output);
  } catch (error) {
    assert.ok(error instanceof RuntimeError);
    assert.doesNotMatch(error.message, /[\u0000-\u001f]/);
    return `${error.kind}: ${error.message}`;
  }
  return assert.fail('did not throw');
};

describe('invokePlugin', () => {
  it('passes the protocol variables and the configuration, and nothing of its own environment', async () => {
    const { result, plugin, folder } = await invoke({ stdout: bytes('{"ips":[]}') });
    assert.deepEqual(result, { ips: [] });
    assert.deepEqual(plugin?.env, [
      'CNI_COMMAND=ADD',
      'CNI_CONTAINERID=c1',
      'CNI_NETNS=/ns',
      'CNI_IFNAME=eth0',
      'CNI_ARGS=A=1;B=2',
      `CNI_PATH=/nonexistent:${folder}`,
      `PATH=${process.env['PATH'] ?? ''}`,
    ]);
    assert.equal(plugin.input, '{"a":1}');
    assert.deepEqual(plugin.extraFds, [9]);
  });

  it('ignores what DEL prints', async () => {
    const { result } = await invoke({ stdout: bytes('junk') }, { command: 'DEL' });
    assert.equal(result, null);
  });

  it('names network, command, plugin and the reason', async () => {
    const prefix = 'network pods: ADD of plugin plug';
    const said = (text: string) => ({ status: { code: 1, signal: null }, stdout: bytes(text) });
    assert.equal(
      await failure(said('{"code":11,"msg":"no\\naddress","details":"range full"}')),
      `unavailable: ${prefix} failed: no address; range full (cni error 11)`,
    );
    assert.equal(
      await failure(said('{"code":7,"msg":"bad"}')),
      `failed-precondition: ${prefix} failed: bad (cni error 7)`,
    );
    assert.equal(
      await failure({ status: { code: 2, signal: null }, stderr: bytes('line\nlast\n') }),
      `internal: ${prefix} failed with exit code 2: line last`,
    );
    assert.equal(
      await failure({ status: { code: null, signal: 11 } }),
      `internal: ${prefix} failed with signal 11: it printed nothing`,
    );
    assert.match(await failure({ stdout: bytes('junk') }), /printed no result but "junk"/);
    assert.match(await failure({ stdout: bytes('[1]') }), /printed no result/);
    assert.match(
      await failure({ stdout: bytes('{}'), truncated: true }),
      /more than 1048576 bytes/,
    );
  });
});

describe('findPlugin', () => {
  it('wants an executable file', () =>
    withTempFolder(async (folder) => {
      await mkdir(join(folder, 'plug'));
      const missing = {
        kind: 'failed-precondition',
        message: `network n: plugin plug is not in ${folder}, ${folder}/b: install it, or correct network.bin_dirs`,
      };
      const binDirs = [folder, join(folder, 'b')];
      await assert.rejects(findPlugin('n', 'plug', binDirs), missing);
      await mkdir(join(folder, 'b'));
      await writeFile(join(folder, 'b', 'plug'), '');
      await assert.rejects(findPlugin('n', 'plug', binDirs), missing);
      await chmod(join(folder, 'b', 'plug'), 0o755);
      assert.equal(await findPlugin('n', 'plug', binDirs), join(folder, 'b', 'plug'));
    }));
});

describe('invokePlugin when the program cannot run or end', () => {
  it('keeps the kind of a time limit and names the call', () =>
    withTempFolder(async (folder) => {
      await writeFile(join(folder, 'plug'), '', { mode: 0o755 });
      const call: Invocation = {
        command: 'DEL',
        network: 'pods',
        type: 'plug',
        config: {},
        containerId: 'c1',
        netnsPath: '',
        ifName: 'eth0',
        args: '',
        binDirs: [folder],
        timeoutMs: 5,
        guardFd: 9,
      };
      const failing = (error: Error) => invokePlugin(() => Promise.reject(error), call);
      await assert.rejects(failing(new RuntimeError('deadline-exceeded', 'slow')), {
        kind: 'deadline-exceeded',
        message: 'network pods: DEL of plugin plug: slow',
      });
      const noexec = Object.assign(new Error('ENOEXEC: x'), { code: 'ENOEXEC', syscall: 'execve' });
      await assert.rejects(failing(noexec), {
        kind: 'failed-precondition',
        message: 'network pods: DEL of plugin plug: ENOEXEC: x',
      });
    }));
});
