/** The check of an image's signatures on the admin service. */
import { RuntimeError } from '../core/errors.js';
import type { SignatureCheck } from '../core/ports/images.js';
import type { RuntimeContext } from '../runtime/context.js';
import type { VerifyImageRequest, VerifyImageResponse } from './gen/admin.js';
import { toAuth } from './pull-calls.js';

export async function verifyImage(
  context: RuntimeContext,
  { reference, auth, instead }: VerifyImageRequest,
  signal: AbortSignal,
): Promise<VerifyImageResponse> {
  if (reference === '')
    throw new RuntimeError('invalid-argument', 'VerifyImage: reference is empty: name an image');
  const check: SignatureCheck =
    instead === undefined ? { kind: 'host' } : { kind: instead.$case, ...instead.value };
  const found = await context.imageVerifier.verify(reference, toAuth(auth), { check, signal });
  return { ...found, imageId: found.id ?? '' };
}
