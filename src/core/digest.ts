/** Content digests of the OCI specifications; sha256 is the only algorithm here. */
import { createHash } from 'node:crypto';

/** `sha256:<64 hex>` of some bytes. */
export function sha256Of(bytes: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export function hexOf(digest: string): string {
  return digest.slice('sha256:'.length);
}
