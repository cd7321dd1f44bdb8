/** The virtual machine of the test node, as QEMU's arguments. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Image } from './image.js';

const MEMORY_MB = 3072;
const CPUS = 2;
/** psi=1: Debian builds it in and leaves it off, Proxmox VE has it on. */
const KERNEL_ARGUMENTS =
  'console=ttyS0 root=/dev/vda quiet panic=-1 net.ifnames=0 mitigations=off psi=1 systemd.show_status=no';
/** Features that cost an emulator time at each entry into the kernel, and change nothing for tests. */
const EMULATED_CPU = 'max,la57=off,pku=off,smap=off,smep=off,umip=off';

export type Accelerator = 'kvm' | 'tcg';

export interface Hardware {
  accelerator: Accelerator;
  image: Image;
  /** A disk that keeps what is written; else all is lost with the machine. */
  disk?: string;
  /** Memory to go on from: QEMU wants the same hardware as when it was saved. */
  memory?: string;
}

/** Changes when a saved machine does not fit any more. */
export function hardwareHash(): string {
  return createHash('sha256')
    .update(execFileSync('qemu-system-x86_64', ['--version']))
    .update(readFileSync(join(import.meta.dirname, 'hardware.ts')))
    .digest('hex')
    .slice(0, 12);
}

export function qemuArguments(options: Hardware, folder: string, port: number): string[] {
  const { accelerator, image, disk, memory } = options;
  const cpu = accelerator === 'kvm' ? 'host' : EMULATED_CPU;
  const accel = accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi,tb-size=1024';
  const drive = [
    `file=${disk ?? image.disk},format=${disk === undefined ? 'raw' : 'qcow2'}`,
    'if=virtio,cache=unsafe,discard=unmap',
    // Writes go to a file without a name, but those of the machine that is to be saved.
    `snapshot=${disk !== undefined && memory === undefined ? 'off' : 'on'}`,
  ];
  return [
    ...['-nodefaults', '-no-user-config', '-machine', 'q35', '-accel', accel, '-cpu', cpu],
    ...['-m', String(MEMORY_MB), '-smp', String(CPUS), '-display', 'none', '-no-reboot'],
    ...['-kernel', image.kernel, '-initrd', image.initrd, '-append', KERNEL_ARGUMENTS],
    ...['-drive', drive.join(',')],
    // Nobody but this host reaches it, and it reaches nobody.
    ...['-netdev', `user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:${port}-:22`],
    ...['-device', 'virtio-net-pci,netdev=net,romfile=', '-device', 'virtio-rng-pci'],
    ...['-serial', `file:${join(folder, 'console')}`],
    ...['-qmp', `unix:${join(folder, 'qmp')},server=on,wait=off`],
    ...(memory === undefined ? [] : ['-incoming', `exec:zstd -dcq '${memory}'`]),
  ];
}
