/** A container of a Proxmox VE template, by CRI: what `pct` would start runs as its init. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest } from '../../support/cri-requests.js';
import { makeBusyboxRoot } from '../../support/rootfs.js';

describe('container of a template', function () {
  this.timeout(60_000);
  let agent: TestAgent;
  let path: string;

  before(async () => {
    agent = new TestAgent();
    const root = join(agent.folder, 'template');
    makeBusyboxRoot(root);
    mkdirSync(join(root, 'sbin'));
    // A script: busybox's own init would want terminals.
    const init = '#!/bin/sh\ntrap "exit 0" PWR\necho "init is $$"\nwhile :; do sleep 0.1; done\n';
    writeFileSync(join(root, 'sbin/init'), init, { mode: 0o755 });
    path = join(agent.folder, 'alpine-0-test_1_amd64.tar.zst');
    execFileSync('tar', ['--zstd', '-cf', path, '-C', root, '.']);
    await agent.start();
  });
  after(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  it('runs its init, and ends by the signal for it', async () => {
    const { image, runtime } = agent.client;
    const spec = {
      image: path,
      annotations: new Map<string, string>(),
      userSpecifiedImage: '',
      runtimeHandler: '',
      imageRef: '',
    };
    const { imageRef } = await image.pullImage({
      image: spec,
      auth: undefined,
      sandboxConfig: undefined,
    });
    const { image: found } = await image.imageStatus({ image: spec, verbose: false });
    assert.equal(found?.id, imageRef);

    const { podSandboxId } = await runtime.runPodSandbox(podRequest(agent, 'template'));
    const request = containerRequest(podSandboxId, 'init', [], { image: spec });
    const { containerId } = await runtime.createContainer(request);
    await runtime.startContainer({ containerId });
    const { stdout } = await runtime.execSync({
      containerId,
      cmd: ['/bin/cat', '/proc/1/cmdline'],
      timeout: 10n,
    });
    assert.equal(Buffer.from(stdout).toString(), '/bin/sh\0/sbin/init\0');
    await runtime.stopContainer({ containerId, timeout: 20n });
    const { status } = await runtime.containerStatus({ containerId, verbose: false });
    assert.equal(status?.exitCode, 0);
    await runtime.removePodSandbox({ podSandboxId });
    await image.removeImage({ image: spec });
    assert.deepEqual((await image.listImages({ filter: undefined })).images, []);
  });
});
