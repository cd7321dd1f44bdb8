/** An agent that is in the middle of an exec: takes the container's spec as its argument. */
import type { ContainerSpec } from '../../src/core/model.js';
import { LxcEngine } from '../../src/lxc/engine.js';
import { loadAddon } from '../../src/native/binding.js';
import { ProcessSpawner } from '../../src/native/process.js';
import { CGROUP_ROOT, LIBEXEC } from './lxc-fixture.js';

const spec = JSON.parse(process.argv[2] ?? '') as ContainerSpec;
const engine = new LxcEngine({
  spawner: new ProcessSpawner(loadAddon()),
  libexecDir: LIBEXEC,
  cgroupRoot: CGROUP_ROOT,
});
setInterval(() => undefined, 1000);
void engine.exec({
  id: spec.id,
  runDirectory: spec.runDirectory,
  cgroup: spec.cgroup.outer,
  userNamespace: null,
  process: spec.process,
  timeoutMs: 0,
  maxOutputBytes: 1000,
});
