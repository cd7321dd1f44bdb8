/** Loads the native programs as the agent does, for a test of hosts that do not let it. */
import { NativePrograms } from '../../src/lxc/native-programs.js';
import { loadAddon } from '../../src/native/binding.js';
import { LIBEXEC } from './lxc-fixture.js';

const programs = new NativePrograms(loadAddon(), LIBEXEC);
for (const name of ['pvecri-init', 'pvecri-exec'] as const) programs.sealed(name);
programs.close();
