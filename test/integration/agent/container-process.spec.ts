/** What a container's process is given through CRI: environment, identity, capabilities. */
import assert from 'node:assert/strict';
import { SecurityProfile_ProfileType } from '../../../src/cri/gen/security.js';
import { TestAgent } from '../../support/agent.js';
import { PodClient } from '../../support/pod-client.js';

describe('the process of a container', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
    pod = await pods.run('pod');
  });

  after(async () => {
    await pods.removePod(pod);
    assert.deepEqual(await agent.close(), []);
  });

  describe('environment', () => {
    // Every byte but NUL, and the ends of what UTF-8 can say.
    const value = Buffer.concat([
      Buffer.from(Array.from({ length: 255 }, (_, i) => i + 1)),
      Buffer.from('\n=line\u{10ffff}\ufeff'),
    ]);
    const change = { envs: [{ key: 'BYTES', value }] };
    const show = 'printf %s "$BYTES" | od -An -v -tx1 | tr -d " \\n"';

    it('reaches the payload and its execs byte for byte, in a later life of the agent too', async () => {
      const id = await pods.begin(pod, `${show}; echo; exec sleep 1000`, change);
      assert.equal(await pods.exec(id, show), value.toString('hex'));
      await agent.stop('SIGKILL');
      await agent.start();
      assert.equal(await pods.exec(id, show), value.toString('hex'));
      assert.match(agent.readLog('c1.log'), new RegExp(` ${value.toString('hex')}\n$`));
      await pods.remove(id);
    });

    it('is refused with a NUL, by name', async () => {
      const envs = [{ key: 'ZERO', value: Buffer.from('a\0b') }];
      await assert.rejects(pods.create(pod, 'true', { envs }), {
        kind: 'invalid-argument',
        message: /env ZERO .*NUL/,
      });
    });
  });

  describe('ambient capabilities', () => {
    const security = (capabilities: object, more: object = {}) => ({
      linux: { securityContext: { capabilities, runAsUser: { value: 1000n }, ...more } },
    });
    const show = 'grep -E "^Cap(Inh|Prm|Eff|Bnd|Amb)" /proc/self/status';
    const sets = (text: string): Record<string, string> =>
      Object.fromEntries(
        [...text.matchAll(/Cap(\w+):\s+0*([0-9a-f]+)/g)].map((m) => [m[1], m[2]]),
      ) as Record<string, string>;
    const only = { addAmbientCapabilities: ['NET_BIND_SERVICE'], dropCapabilities: ['ALL'] };
    const bind = { Inh: '400', Prm: '400', Eff: '400', Bnd: '400', Amb: '400' };

    it('let a user other than root do what they stand for, and an exec too', async () => {
      const id = await pods.begin(pod, `${show}; exec sleep 1000`, security(only));
      assert.deepEqual(sets(await pods.exec(id, show)), bind);
      await pods.remove(id);
      assert.deepEqual(sets(await pods.output(pod, show, security(only))), bind);
    });

    it('are there with no_new_privs and a seccomp filter', async () => {
      const more = {
        noNewPrivs: true,
        seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault },
      };
      assert.deepEqual(sets(await pods.output(pod, show, security(only, more))), bind);
    });

    it('are not there unless asked for', async () => {
      const text = await pods.output(pod, show, security({ addCapabilities: ['NET_ADMIN'] }));
      assert.deepEqual([sets(text)['Eff'], sets(text)['Amb'], sets(text)['Inh']], ['0', '0', '0']);
    });

    it('are refused by an unknown name', async () => {
      const change = security({ addAmbientCapabilities: ['FLY'] });
      await assert.rejects(pods.create(pod, 'true', change), {
        kind: 'invalid-argument',
        message: /"FLY" is unknown/,
      });
    });
  });
});
