/** What a seccomp filter does, free of any file format: the compiler's input. */

export type SeccompActionName =
  'allow' | 'errno' | 'kill-process' | 'kill-thread' | 'log' | 'trace' | 'trap';

export interface SeccompAction {
  action: SeccompActionName;
  /** Of 'errno' what the call returns, of 'trace' what the tracer is told; EPERM without it. */
  errno?: number;
}

export interface SeccompCondition {
  /** Which argument, 0 to 5. */
  index: number;
  op: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge' | 'masked-eq';
  value: bigint;
  /** Of 'masked-eq': `(argument & mask) == value`. */
  mask?: bigint;
}

/**
 * All `args` must hold (AND); several rules for one call are alternatives (OR). Names that libseccomp
 * does not know are skipped, unless that would let pass what the rule forbids.
 */
export interface SeccompRule extends SeccompAction {
  names: string[];
  args?: SeccompCondition[];
}

export interface SeccompProfile {
  /** What a call gets that no rule is about. */
  fallback: SeccompAction;
  /** libseccomp's names of what the filter covers besides the machine's own; calls of others kill. */
  architectures: string[];
  rules: SeccompRule[];
}

/** SECCOMP_FILTER_FLAG_* of seccomp(2), as they are given when the filter is loaded. */
export const SECCOMP_FLAGS = { TSYNC: 1, LOG: 2, SPEC_ALLOW: 4 } as const;

/** A filter as it is loaded. */
export interface SeccompFilter {
  /** struct sock_filter[]. */
  program: Uint8Array;
  flags: number;
}

/** What the kernel of a machine (Node's name of it) runs besides its own programs. */
export function foreignArchitectures(machine: string): string[] {
  switch (machine) {
    case 'x64':
      return ['x86', 'x32'];
    case 'arm64':
      return ['arm'];
    default:
      return [];
  }
}
