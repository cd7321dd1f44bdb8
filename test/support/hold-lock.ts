/** A process that holds the lock of an agent until it is killed: `hold-lock.ts <root> <state>`. */
import { loadAddon } from '../../src/native/binding.js';
import { lockRoot } from '../../src/store/root-lock.js';

const [root = '', state = ''] = process.argv.slice(2);
const addon = loadAddon();
lockRoot((path) => addon.lockFile(path), { root, state });
process.stdout.write('held\n');
setInterval(() => undefined, 1000);
