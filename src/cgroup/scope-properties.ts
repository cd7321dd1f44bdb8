/**
 * Settings that a scope must have itself, as systemd's properties: those that are weighed against the
 * other containers of the pod, or that a parent must grant before a child has them (cgroup-v2.rst,
 * "Weights", "Protections"). All others are limits and bind where they are written.
 */
import { RuntimeError } from '../core/errors.js';
import type { CgroupSetting } from '../core/resources.js';

/** `CPUWeight=20`, in the order of the settings (systemd.resource-control(5)). */
export function scopeProperties(settings: readonly CgroupSetting[]): string[] {
  return settings.flatMap((setting) => {
    switch (setting.file) {
      case 'cpu.weight':
        return [`CPUWeight=${read(setting, /^(\d{1,5})$/)}`];
      case 'cpu.idle':
        return read(setting, /^([01])$/) === '1' ? ['CPUWeight=idle'] : [];
      case 'io.weight':
        return [`IOWeight=${read(setting, /^(?:default )?(\d{1,5})$/)}`];
      case 'memory.min':
        return [`MemoryMin=${bytes(setting)}`];
      case 'memory.low':
        return [`MemoryLow=${bytes(setting)}`];
      case 'cpu.weight.nice':
      case 'io.bfq.weight':
        throw refuse(setting, 'the systemd cgroup driver has no property for it');
      default:
        return [];
    }
  });
}

function bytes(setting: CgroupSetting): string {
  const value = read(setting, /^(max|\d{1,19}[KMGT]?)$/);
  return value === 'max' ? 'infinity' : value;
}

function read(setting: CgroupSetting, pattern: RegExp): string {
  const value = pattern.exec(setting.value)?.[1];
  if (value === undefined) throw refuse(setting, 'the systemd cgroup driver cannot express it');
  return value;
}

function refuse({ file, value }: CgroupSetting, why: string): RuntimeError {
  return new RuntimeError(
    'invalid-argument',
    `cannot set ${file} to ${JSON.stringify(value.slice(0, 80))}: ${why}`,
  );
}
