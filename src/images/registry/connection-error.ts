/** What it means, in words, that no answer came from a server. */
import { hasCode, RuntimeError } from '../../core/errors.js';
import { TransientError } from '../source/retry.js';

const UNKNOWN_CA = [
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
];

export function connectionError(
  error: unknown,
  url: URL,
  proxy: URL | undefined,
  signal: AbortSignal,
): unknown {
  if (signal.aborted || error instanceof RuntimeError) return error;
  const by = proxy === undefined ? '' : ` through the proxy ${proxy.host}`;
  const message = `${url.host} cannot be reached${by}: ${reasonOf(error)}${hangUpHint(error, url)}`;
  const hint = permanentHint(error);
  // A certificate does not become valid by asking again.
  return hint === undefined
    ? new TransientError(message, error)
    : new RuntimeError('registry-unavailable', `${message}${hint}`, error);
}

/** TLS 1.3 asks for a certificate when the connection stands already: what comes is often a mere end. */
function hangUpHint(error: unknown, url: URL): string {
  const isHangUp = hasCode(error, 'UND_ERR_SOCKET', 'ECONNRESET') && url.protocol === 'https:';
  return isHangUp ? ' (if it wants one, hosts.toml can name a client certificate)' : '';
}

/** Several addresses of one name fail as an AggregateError without a message. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) {
    return [...new Set(error.errors.map((each: unknown) => reasonOf(each)))].join(', ');
  }
  if (!(error instanceof Error)) return String(error);
  const reason = error.message || error.name;
  return hasCode(error, 'EAI_AGAIN') ? `this node's DNS gives no answer: ${reason}` : reason;
}

/** What to do about a failure that stays; undefined for one that may pass. */
function permanentHint(error: unknown): string | undefined {
  const reason = reasonOf(error);
  if (hasCode(error, ...UNKNOWN_CA)) return ' (hosts.toml can name its ca)';
  if (hasCode(error, 'ENOTFOUND')) return " (no such name is known to this node's DNS)";
  if (hasCode(error, 'ERR_TLS_CERT_ALTNAME_INVALID') || /altnames/.test(reason)) {
    return ' (its certificate is not for this name)';
  }
  if (/alert .*certificate|certificate required/i.test(reason)) {
    return ' (hosts.toml can name a client certificate)';
  }
  if (/wrong version number|packet length too long/i.test(reason)) {
    return ' (it may speak http alone: hosts.toml can say so)';
  }
  return /certificate/i.test(reason) ? '' : undefined;
}
