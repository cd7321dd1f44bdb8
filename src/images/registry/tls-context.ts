/** What TLS trusts and shows: the system's certificates with an operator's own. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { hasCode } from '../../core/errors.js';

export interface ClientCertificate {
  /** PEM texts. */
  cert: string;
  key: string;
}

/** Debian's ca-certificates; Node on its own trusts a list that was compiled into it. */
const SYSTEM_CA = '/etc/ssl/certs/ca-certificates.crt';
const MOST_CONTEXTS = 8;
/** Reading all of a system's certificates blocks for longer than a handshake takes: once is enough. */
const contexts = new Map<string, SecureContext>();

export function secureContextFor(
  ownCa: readonly string[],
  pairs: readonly ClientCertificate[],
): SecureContext {
  const ca = [...systemCa(), ...ownCa];
  const key = createHash('sha256')
    .update(JSON.stringify([ca, pairs]))
    .digest('base64');
  const known = contexts.get(key);
  if (known) return known;
  const context = createSecureContext({
    ...(ca.length > 0 ? { ca } : {}),
    ...(pairs.length > 0
      ? { cert: pairs.map(({ cert }) => cert), key: pairs.map((pair) => pair.key) }
      : {}),
  });
  const [oldest] = contexts.keys();
  if (oldest !== undefined && contexts.size >= MOST_CONTEXTS) contexts.delete(oldest);
  contexts.set(key, context);
  return context;
}

function systemCa(): string[] {
  try {
    return [readFileSync(SYSTEM_CA, 'utf8')];
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}
