/** Kernel parameters of a pod: only those of its own namespaces, in a form that means one file. */
import { RuntimeError } from './errors.js';
import type { NamespaceModes, Pairs } from './model.js';

/** procfs takes at most a page. */
const MAX_VALUE = 4095;

export function validateSysctls(sysctls: Pairs, modes: NamespaceModes): void {
  for (const [key, value] of sysctls) {
    const kind = namespaceOf(sysctlPath(key));
    if (kind === undefined) {
      throw invalid(
        key,
        'is not a parameter of a network or IPC namespace: expected net.*, kernel.shm*, kernel.msg*, kernel.sem or fs.mqueue.*',
      );
    }
    if (modes[kind] === 'node') {
      throw invalid(key, `would change the host: the pod shares the host's ${kind} namespace`);
    }
    // Some take several numbers; no parameter has a "+", which other runtimes had read as a separator.
    if (/[\u0000-\u0008\u000a-\u001f\u007f+]/.test(value) || value.trim() === '') {
      throw invalid(key, `has a malformed value ${JSON.stringify(value.slice(0, 80))}`);
    }
    if (Buffer.byteLength(value) > MAX_VALUE)
      throw invalid(key, `has a value over ${MAX_VALUE} bytes`);
  }
}

/**
 * The parts of the path below /proc/sys. The first separator decides, as in sysctl(8):
 * `net.ipv4.conf.eth0/1.x` and `net/ipv4/conf/eth0.1/x` both name the interface eth0.1.
 */
function sysctlPath(key: string): string[] {
  const separator = /[./]/.exec(key)?.[0];
  const parts = key
    .split(separator ?? '.')
    .map((part) => (separator === '.' ? part.replaceAll('/', '.') : part));
  const isName = (part: string): boolean =>
    /^[\w.:@-]+$/.test(part) && part !== '.' && part !== '..';
  if (separator !== undefined && parts.every(isName)) return parts;
  throw invalid(key, 'is malformed: expected names with dots between them');
}

function namespaceOf(parts: readonly string[]): 'network' | 'ipc' | undefined {
  const [first, second = '', ...more] = parts;
  if (first === 'net') return 'network';
  if (first === 'fs' && second === 'mqueue' && more.length === 1) return 'ipc';
  const isKernel = first === 'kernel' && more.length === 0;
  return isKernel && /^(?:sem$|shm|msg)/.test(second) ? 'ipc' : undefined;
}

function invalid(key: string, why: string): RuntimeError {
  return new RuntimeError(
    'invalid-argument',
    `sandbox sysctl ${JSON.stringify(key.slice(0, 120))} ${why}`,
  );
}
