/** Which kernel parameters a pod may set: its own namespaces', and in a form that means one file. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { NamespaceModes } from '../../../src/core/model.js';
import { validateSysctls } from '../../../src/core/sysctl.js';

const own: NamespaceModes = { network: 'pod', pid: 'container', ipc: 'pod', targetId: '' };

describe('validateSysctls', () => {
  for (const [key, value] of [
    ['net.ipv4.ip_unprivileged_port_start', '0'],
    ['net/ipv4/ip_forward', '1'],
    ['net.ipv4.ping_group_range', '0 2147483647'],
    ['net.ipv4.conf.eth0/1.arp_ignore', '1'],
    ['net.ipv4.tcp_rmem', '4096\t131072\t6291456'],
    ['kernel.sem', '250 32000 100 128'],
    ['kernel.shmmax', '68719476736'],
    ['kernel.shm_rmid_forced', '1'],
    ['kernel.msgmax', '65536'],
    ['fs.mqueue.msg_max', '-1'],
  ] as const) {
    it(`takes ${key}`, () => {
      validateSysctls([[key, value]], own);
    });
  }

  for (const [key, value, message] of [
    ['vm.swappiness', '1', /"vm.swappiness" is not a parameter of a network or IPC namespace/],
    ['kernel.panic', '1', /"kernel.panic" is not/],
    ['kernel.hostname', 'x', /"kernel.hostname" is not/],
    ['kernel.semaphore', '1', /is not a parameter/],
    ['kernel.shmmax.x', '1', /is not a parameter/],
    ['kernel', '1', /malformed/],
    ['fs.mqueue', '1', /is not a parameter/],
    ['', '1', /"" is malformed/],
    ['net..ipv4', '1', /malformed/],
    ['net.', '1', /malformed/],
    ['/net/ipv4/ip_forward', '1', /malformed/],
    ['net/../kernel/panic', '1', /malformed/],
    ['net/ipv4/../../kernel/panic', '1', /malformed/],
    ['net.ipv4.ip forward', '1', /malformed/],
    ['net.ipv4.x\n', '1', /malformed/],
    ['net.ipv4.x+kernel.core_pattern', '1', /malformed/],
    ['net.ipv4.x', '1+kernel.core_pattern=|/x', /malformed value "1\+kernel/],
    ['net.ipv4.x', '1\n2', /malformed value/],
    ['net.ipv4.x', '1\0', /malformed value/],
    ['net.ipv4.x', '', /malformed value ""/],
    ['net.ipv4.x', ' \t', /malformed value/],
    ['net.ipv4.x', '1'.repeat(5000), /value over 4095 bytes/],
  ] as const) {
    it(`refuses ${JSON.stringify(key)} = ${JSON.stringify(value.slice(0, 20))}`, () => {
      assert.throws(
        () => {
          validateSysctls([[key, value]], own);
        },
        { kind: 'invalid-argument', message },
      );
    });
  }

  it('refuses those of a namespace that is the host’s', () => {
    const refuses = (key: string, change: Partial<NamespaceModes>, message: RegExp): void => {
      assert.throws(
        () => {
          validateSysctls([[key, '1']], { ...own, ...change });
        },
        { kind: 'invalid-argument', message },
      );
    };
    refuses('net.ipv4.x', { network: 'node' }, /"net.ipv4.x" would change the host.*network/);
    refuses('kernel.shmmax', { ipc: 'node' }, /"kernel.shmmax" would change the host.*ipc/);
  });

  it('lets no key out of net, kernel and fs.mqueue', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('net', 'kernel', '..', '.', '/', 'sem', 'fs', '', ' ', 'x')),
        (parts) => {
          const key = parts.join('');
          try {
            validateSysctls([[key, '1']], own);
          } catch {
            return;
          }
          assert.match(key, /^(net[./]|kernel[./](sem$|shm|msg)|fs[./]mqueue[./])/);
          assert.doesNotMatch(key, /\/\.{1,2}(\/|$)/);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
