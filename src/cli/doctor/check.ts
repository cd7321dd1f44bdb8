/** One finding of `pvecri doctor`. */

export type Verdict = 'ok' | 'warning' | 'problem';

export interface Finding {
  check: string;
  verdict: Verdict;
  message: string;
  /** How to mend it; '' when there is nothing to mend. */
  remedy: string;
}

export function ok(check: string, message: string): Finding {
  return { check, verdict: 'ok', message, remedy: '' };
}

/** Works, but with less than it could. */
export function warning(check: string, message: string, remedy: string): Finding {
  return { check, verdict: 'warning', message, remedy };
}

/** Pods can't run, or not safely. */
export function problem(check: string, message: string, remedy: string): Finding {
  return { check, verdict: 'problem', message, remedy };
}
