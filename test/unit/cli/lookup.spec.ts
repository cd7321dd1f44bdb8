/** What people type, and the one object it stands for. */
import assert from 'node:assert/strict';
import { CommandFailure } from '../../../src/cli/failure.js';
import { findContainer, findPod, findPodOrContainer } from '../../../src/cli/lookup.js';
import type { Inventory } from '../../../src/cli/lookup.js';
import {
  Container,
  ContainerState,
  PodSandbox,
  PodSandboxState,
} from '../../../src/cri/gen/index.js';

const id = (start: string): string => start.padEnd(64, '0');

function pod(start: string, name: string, namespace = 'default', isReady = true): PodSandbox {
  return PodSandbox.create({
    id: id(start),
    metadata: { name, namespace, uid: start, attempt: 0 },
    state: isReady ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY,
  });
}

function container(
  start: string,
  podStart: string,
  name: string,
  attempt = 0,
  state: ContainerState = ContainerState.CONTAINER_RUNNING,
): Container {
  return Container.create({
    id: id(start),
    podSandboxId: id(podStart),
    metadata: { name, attempt },
    state,
  });
}

const EXITED = ContainerState.CONTAINER_EXITED;

function failure(work: () => unknown): CommandFailure {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof CommandFailure);
    return error;
  }
  assert.fail('found something');
}

describe('findPod', () => {
  const inventory: Inventory = {
    pods: [
      pod('aa1', 'web'),
      pod('aa2', 'db'),
      pod('bb1', 'job', 'one'),
      pod('bb2', 'job', 'two'),
      pod('cc1', 'old', 'default', false),
      pod('cc2', 'old'),
      pod('dd1', 'aa1'),
    ],
    containers: [],
  };

  it('knows names, names with namespace, ids and unique prefixes', () => {
    assert.equal(findPod(inventory, 'web').id, id('aa1'));
    assert.equal(findPod(inventory, 'two/job').id, id('bb2'));
    assert.equal(findPod(inventory, id('bb1')).id, id('bb1'));
    assert.equal(findPod(inventory, 'bb2').id, id('bb2'));
  });

  it('puts names above the start of an id', () => {
    assert.equal(findPod(inventory, 'aa1').id, id('dd1'));
  });

  it('takes the one that is ready, when the others of its name are not', () => {
    assert.equal(findPod(inventory, 'old').id, id('cc2'));
  });

  it('refuses what is not clear, and names the choices', () => {
    const { kind, message } = failure(() => findPod(inventory, 'job'));
    assert.equal(kind, 'usage');
    assert.match(message, /pod one\/job \(bb1.*pod two\/job \(bb2/);
    assert.equal(failure(() => findPod(inventory, 'aa')).kind, 'usage');
  });

  it('says what is not there', () => {
    for (const nothing of ['nope', '', 'one/web', '__proto__', 'ff']) {
      assert.equal(failure(() => findPod(inventory, nothing)).kind, 'not-found');
    }
  });
});

describe('findContainer', () => {
  const inventory: Inventory = {
    pods: [pod('a1', 'web', 'shop'), pod('a2', 'api')],
    containers: [
      container('c1', 'a1', 'main', 0, EXITED),
      container('c2', 'a1', 'main', 1, EXITED),
      container('c3', 'a1', 'main', 2),
      container('d1', 'a2', 'main'),
      container('e1', 'a1', 'proxy'),
      container('e2', 'a2', 'proxy', 0, EXITED),
    ],
  };

  it('takes the newest attempt of a restarted container', () => {
    assert.equal(findContainer(inventory, 'web/main').id, id('c3'));
    assert.equal(findContainer(inventory, 'shop/web/main').id, id('c3'));
    assert.equal(findContainer(inventory, 'c1').id, id('c1'));
  });

  it('finds the attempt before it', () => {
    assert.equal(findContainer(inventory, 'web/main', { previous: true }).id, id('c2'));
    const { kind } = failure(() => findContainer(inventory, 'api/main', { previous: true }));
    assert.equal(kind, 'not-found');
  });

  it('takes the one that runs, when the others of its name do not', () => {
    assert.equal(findContainer(inventory, 'proxy').id, id('e1'));
  });

  it('refuses a name that two pods use', () => {
    const { kind, message } = failure(() => findContainer(inventory, 'main'));
    assert.equal(kind, 'usage');
    assert.match(message, /web\/main .*api\/main /);
  });
});

describe('findPodOrContainer', () => {
  const inventory: Inventory = {
    pods: [pod('a1', 'web'), pod('a2', 'db')],
    containers: [container('c1', 'a1', 'web'), container('c2', 'a2', 'main')],
  };

  it('tells pods from containers', () => {
    assert.equal(findPodOrContainer(inventory, 'db').kind, 'pod');
    const found = findPodOrContainer(inventory, 'main');
    assert.ok(found.kind === 'container' && found.pod?.id === id('a2'));
  });

  it('refuses a name that is both', () => {
    assert.match(
      failure(() => findPodOrContainer(inventory, 'web')).message,
      /pod default\/web .*container web\/web/,
    );
    assert.equal(findPodOrContainer(inventory, 'web/web').kind, 'container');
  });
});
