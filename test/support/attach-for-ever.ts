/** A process to be killed in the middle of an attach: `attach-for-ever.ts <json arguments>`. */
import { CniNetwork } from '../../src/network/cni/network.js';
import type { CniFolders } from '../../src/network/cni/network.js';
import type { NetworkRequest } from '../../src/core/ports/network.js';
import { loadAddon } from '../../src/native/binding.js';
import { ProcessSpawner } from '../../src/native/process.js';
import { pluginRunner } from './run-plugin.js';

export interface AttachArguments {
  folders: CniFolders;
  cacheFolder: string;
  hostNetns: string;
  request: NetworkRequest;
}

const { folders, cacheFolder, hostNetns, request } = JSON.parse(
  process.argv[2] ?? '',
) as AttachArguments;
const addon = loadAddon();
await new CniNetwork(folders, {
  cacheFolder,
  run: pluginRunner(new ProcessSpawner(addon), hostNetns),
  lockFile: (path) => addon.lockFile(path),
}).attach(request);
