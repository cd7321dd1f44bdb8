import assert from 'node:assert/strict';
import fc from 'fast-check';
import { readUnitPath } from '../../../src/cgroup/unit-path.js';
import { CgroupLayouts } from '../../../src/core/cgroup-layout.js';
import { parseContainerId, parseSandboxId } from '../../../src/core/ids.js';

const sandbox = parseSandboxId('a'.repeat(64));
const container = parseContainerId('b'.repeat(64));
const BURSTABLE = '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx.slice';

describe('cgroup layouts', () => {
  it('of cgroupfs are folders', () => {
    const { configured } = new CgroupLayouts('cgroupfs', 'pvecri');
    assert.equal(configured.pod('', sandbox), `/pvecri/pod/${sandbox}`);
    const pod = configured.pod('/kubepods/burstable/podx', sandbox);
    assert.equal(pod, '/kubepods/burstable/podx');
    assert.equal(configured.podInit(pod, sandbox), `${pod}/${sandbox}`);
    assert.deepEqual(configured.container(pod, container), {
      outer: `${pod}/${container}`,
      monitor: `/pvecri/monitor/${container}`,
      pivot: '/pvecri/pivot',
      shim: '/pvecri/shim',
    });
    for (const parent of ['kubepods-podx.slice', '/kubepods.slice']) {
      assert.throws(() => configured.pod(parent, sandbox), /systemd slice.*cgroupDriver/);
    }
    assert.throws(() => configured.pod('/a/../b', sandbox), /cgroup_parent/);
  });

  it('of systemd are slices, and scopes whose id stands after the last dash', () => {
    const { configured } = new CgroupLayouts('systemd', 'pvecri-0123456789ab');
    const own = configured.pod('', sandbox);
    const scope = '/pvecri_0123456789ab.slice/pvecri_0123456789ab-own.scope';
    assert.equal(own, `${scope}/pod/${sandbox}`);
    assert.equal(own, `${configured.ownPods}/${sandbox}`);
    assert.equal(configured.container(own, container).outer, `${own}/${container}`);
    assert.equal(configured.podInit(own, sandbox), `${own}/${sandbox}`);
    const pod = configured.pod('kubepods-burstable-podx.slice', sandbox);
    assert.equal(pod, BURSTABLE);
    assert.equal(configured.podInit(pod, sandbox), `${pod}/pvecri-${sandbox}.scope/box`);
    assert.deepEqual(configured.container(pod, container), {
      outer: `${pod}/pvecri-${container}.scope/box`,
      monitor: `${scope}/monitor/${container}`,
      pivot: `${scope}/pivot`,
      shim: `${scope}/shim`,
    });
    assert.throws(() => configured.pod('/kubepods/podx', sandbox), /path.*cgroupDriver/);
  });

  it('stay with a pod when the driver changes', () => {
    for (const before of ['cgroupfs', 'systemd'] as const) {
      for (const after of ['cgroupfs', 'systemd'] as const) {
        const made = new CgroupLayouts(before, 'pvecri');
        for (const parent of [
          '',
          before === 'systemd' ? 'kubepods-podx.slice' : '/kubepods/podx',
        ]) {
          const pod = made.configured.pod(parent, sandbox);
          const later = new CgroupLayouts(after, 'pvecri').of(pod);
          const { configured } = made;
          assert.deepEqual(later.container(pod, container), configured.container(pod, container));
          assert.equal(later.podInit(pod, sandbox), configured.podInit(pod, sandbox));
        }
      }
    }
  });

  it('are told from paths: every unit of the systemd layout, none of the other', () => {
    const word = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
    const agent = fc.constantFrom('pvecri', 'pvecri-0123456789ab');
    const slice = fc.array(word, { minLength: 1, maxLength: 5 }).map((w) => `${w.join('-')}.slice`);
    fc.assert(
      fc.property(agent, fc.oneof(fc.constant(''), slice), (name, parent) => {
        let layout = new CgroupLayouts('systemd', name).configured;
        let pod: string;
        try {
          pod = layout.pod(parent, sandbox);
        } catch {
          return; // a name such as cpu.slice
        }
        const { outer, shim, monitor } = layout.container(pod, container);
        const unit = (path: string, whole: boolean, scope: string | undefined) => {
          const read = readUnitPath(path);
          assert.ok(read?.kind === 'scope');
          assert.deepEqual([read.scope.name, read.scope.whole], [scope, whole]);
          assert.ok(path.startsWith(read.scope.path));
        };
        assert.equal(readUnitPath(layout.base)?.kind, 'slice');
        const own = shim.split('/')[2];
        for (const path of [shim, monitor, layout.ownPods]) unit(path, false, own);
        unit(`${layout.base}/${own ?? ''}`, true, own);
        if (parent === '') {
          for (const path of [pod, outer, `${outer}/lxc`]) unit(path, false, own);
        } else {
          assert.deepEqual(readUnitPath(pod), { kind: 'slice', slice: parent });
          const scope = `pvecri-${container}.scope`;
          unit(outer, true, scope);
          unit(outer.slice(0, -'/box'.length), true, scope);
          unit(`${outer}/lxc`, false, scope);
          assert.equal(readUnitPath(`${pod}/other.scope`), undefined);
          assert.equal(readUnitPath(`${pod}/other.service/box`), undefined);
        }

        layout = new CgroupLayouts('cgroupfs', name).configured;
        const folder = layout.pod(`/${parent || 'x'}/pod1`, sandbox);
        const plain = layout.container(folder, container);
        for (const path of [folder, plain.outer, plain.monitor, plain.shim, layout.base]) {
          assert.equal(readUnitPath(path), undefined);
        }
      }),
    );
  });
});
