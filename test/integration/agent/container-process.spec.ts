/** What a container's process is given through CRI: environment, identity, capabilities. */
import assert from 'node:assert/strict';
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
});
