/** Units of the systemd that runs the host, for tests of the systemd cgroup driver. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Undefined where the driver can work, else why not. */
export function whyNoSystemdDriver(): string | undefined {
  if (!existsSync('/run/systemd/system')) return 'systemd does not run this host';
  if (!existsSync('/sys/fs/cgroup/cgroup.controllers')) return 'cgroup v2 is not alone here';
  return undefined;
}

export function systemctl(...words: string[]): string {
  return execFileSync('systemctl', words, { encoding: 'utf8', timeout: 60_000 }).trim();
}

export function unitProperty(unit: string, property: string): string {
  return systemctl('show', '--value', `--property=${property}`, unit);
}

/** Slices whose name begins so, and pvecri's scopes in them. */
export function unitsOf(slice: string): string[] {
  const text = systemctl('show', '--all', '--property=Id,Slice', 'pvecri-*.scope', `${slice}*`);
  return text.split('\n\n').flatMap((unit) => {
    const id = /^Id=(.*)$/m.exec(unit)?.[1] ?? '';
    const parent = /^Slice=(.*)$/m.exec(unit)?.[1] ?? '';
    return id.startsWith(slice) || parent.startsWith(slice) ? [id] : [];
  });
}
