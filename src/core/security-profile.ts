/** The one notation for seccomp and AppArmor profiles: what CRI words as a type and a reference. */
import { RuntimeError } from './errors.js';
import type { SecurityProfile } from './model.js';

const LOCALHOST = 'localhost/';

/** The path or name behind `localhost/`; undefined for the other profiles. */
export function localhostProfile(profile: SecurityProfile): string | undefined {
  return profile.startsWith(LOCALHOST) ? profile.slice(LOCALHOST.length) : undefined;
}

/** Reads the strings of CRI's superseded fields; '' is for the caller to understand. */
export function parseSecurityProfile(field: string, value: string): SecurityProfile {
  switch (value) {
    case 'runtime/default':
    case 'docker/default':
      return 'runtime-default';
    case 'unconfined':
      return 'unconfined';
  }
  if (value.startsWith(LOCALHOST)) return `localhost/${value.slice(LOCALHOST.length)}`;
  throw new RuntimeError(
    'invalid-argument',
    `${field} ${JSON.stringify(value.slice(0, 80))} is unknown: expected runtime/default, unconfined or localhost/PROFILE`,
  );
}
