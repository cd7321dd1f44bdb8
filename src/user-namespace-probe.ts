/** Whether pods can have user namespaces on this host: the kernel makes one and maps ids by it. */
import { closeSync, constants, openSync } from 'node:fs';
import { mkdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { NativeAddon } from './native/binding.js';

/** Any ids do, nobody is ever in it. */
const FIRST_ID = 65_536;

/** `folder` takes the probe's namespace for a moment; `stored` is on the file system of the containers. */
export async function hasUserNamespaces(
  addon: NativeAddon,
  folder: string,
  stored: string,
): Promise<boolean> {
  const user = join(folder, '.probe');
  const map = `0 ${FIRST_ID} ${FIRST_ID}\n`;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(user, '', { mode: 0o600 });
  try {
    await addon.pinNamespaces({ user, uidMap: map, gidMap: map, rootUid: FIRST_ID });
    const fd = openSync(user, constants.O_RDONLY);
    try {
      await addon.mappedOwner(stored, fd);
    } finally {
      closeSync(fd);
    }
    return true;
  } catch {
    // Not a fault of the host: such pods are refused with the reasons there can be.
    return false;
  } finally {
    addon.unmount(user);
    await unlink(user);
  }
}
