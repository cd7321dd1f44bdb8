/** Prune over a node in memory: what goes, what stays, and what is told. */
import assert from 'node:assert/strict';
import { RuntimeError } from '../../../src/core/errors.js';
import type { ImageRecord } from '../../../src/core/model.js';
import { createContainer } from '../../../src/runtime/container-create.js';
import type { RuntimeContext } from '../../../src/runtime/context.js';
import { pruneImages } from '../../../src/runtime/image-prune.js';
import { removeImage } from '../../../src/runtime/image-remove.js';
import { runSandbox } from '../../../src/runtime/sandbox-run.js';
import { FakeNode } from '../../fakes/node.js';
import { containerRequest, sandboxRequest } from '../../fakes/requests.js';

describe('prune', () => {
  let node: FakeNode;
  let context: RuntimeContext;
  let pod: string;

  const add = (name: string, digit: string, rest: Partial<ImageRecord> = {}): ImageRecord =>
    node.addImage(name, {}, { id: `sha256:${digit.repeat(64)}` as ImageRecord['id'], ...rest });

  beforeEach(async () => {
    node = new FakeNode();
    context = node.context();
    pod = await runSandbox(context, sandboxRequest());
    add('busybox', 'a', { size: 10 });
    add('tagged', 'b', { size: 20, pulledAt: '500' });
    add('dangling', 'c', { size: 30, repoTags: [], repoDigests: ['r@sha256:c'], pulledAt: '900' });
  });

  const names = (): string[] => [...node.images.keys()].sort();

  it('takes what has no tag, and says what came back', async () => {
    const result = await pruneImages(context, { all: false });
    assert.deepEqual(result, {
      removed: [{ id: `sha256:${'c'.repeat(64)}`, names: ['r@sha256:c'], freedBytes: 30 }],
      failed: [],
      freedBytes: 30,
    });
    assert.deepEqual(names(), ['busybox', 'tagged']);
  });

  it('takes all that no container uses, running or not', async () => {
    await createContainer(context, containerRequest(pod));
    const result = await pruneImages(context, { all: true });
    assert.equal(result.freedBytes, 50);
    assert.deepEqual(names(), ['busybox']);
  });

  it('spares the image of a container that is being made', async () => {
    const creation = createContainer(context, containerRequest(pod));
    await pruneImages(context, { all: true });
    await creation;
    assert.deepEqual(names(), ['busybox']);
  });

  it('spares what was pulled since', async () => {
    await pruneImages(context, { all: true, pulledBefore: 501n });
    assert.deepEqual(names(), ['dangling']);
  });

  it('goes on after an image that cannot be removed', async () => {
    const failure = new RuntimeError('internal', 'the disk is read-only');
    const remove = context.images.remove.bind(context.images);
    context.images.remove = (id) => (id.includes('bb') ? Promise.reject(failure) : remove(id));
    const result = await pruneImages(context, { all: true });
    assert.deepEqual(
      result.failed.map(({ names: [name], reason }) => [name, reason]),
      [['tagged', 'the disk is read-only']],
    );
    assert.deepEqual(names(), ['tagged']);
  });

  it('makes no container of an image until the last of several removals has ended', async () => {
    const ends: (() => void)[] = [];
    context.images.remove = () =>
      new Promise((resolve) => {
        ends.push(() => {
          resolve(0);
        });
      });
    const removals = [removeImage(context, 'busybox'), removeImage(context, 'busybox')];
    ends[0]?.();
    await removals[0];
    await assert.rejects(createContainer(context, containerRequest(pod)), {
      kind: 'not-found',
      message: /is being removed/,
    });
    ends[1]?.();
    await removals[1];
    await createContainer(context, containerRequest(pod));
  });
});
