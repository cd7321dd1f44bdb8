/** Identities: 64 lower-case hex digits, no dash (the kubelet and cAdvisor cut ids out of cgroup paths). */
import { RuntimeError } from './errors.js';

declare const brand: unique symbol;
export type SandboxId = string & { readonly [brand]: 'sandbox' };
export type ContainerId = string & { readonly [brand]: 'container' };
/** `sha256:<64 hex>` of the image config: the one identity of an image everywhere. */
export type ImageId = string & { readonly [brand]: 'image' };

const ID = /^[0-9a-f]{64}$/;

export function parseSandboxId(text: string): SandboxId {
  if (!ID.test(text)) throw malformed('sandbox', text);
  return text as SandboxId;
}

export function parseContainerId(text: string): ContainerId {
  if (!ID.test(text)) throw malformed('container', text);
  return text as ContainerId;
}

function malformed(what: string, text: string): RuntimeError {
  return new RuntimeError(
    'invalid-argument',
    `${what} id ${JSON.stringify(text.slice(0, 80))} is malformed: expected 64 lower-case hex digits`,
  );
}
