/** Which AppArmor profile the processes of a container run under. */
import { DEFAULT_APPARMOR_PROFILE } from '../core/apparmor-profile.js';
import { RuntimeError } from '../core/errors.js';
import type { ContainerRequest } from '../core/requests.js';
import { localhostProfile } from '../core/security-profile.js';
import type { RuntimeContext } from './context.js';

/** The profile's name, or null for none. A profile that is not loaded is an error, never "none". */
export async function appArmorProfile(
  context: RuntimeContext,
  request: Pick<ContainerRequest, 'apparmor' | 'privileged'>,
): Promise<string | null> {
  const { appArmor } = context.host;
  const wanted = request.apparmor;
  const named = wanted === null ? undefined : localhostProfile(wanted);
  if (named !== undefined) {
    if (!appArmor.enabled) {
      throw new RuntimeError(
        'failed-precondition',
        `AppArmor profile ${JSON.stringify(named)} is asked for, but AppArmor is not enabled on this host: enable it or leave the profile out`,
      );
    }
    if (await appArmor.isLoaded(named)) return named;
    throw new RuntimeError(
      'not-found',
      `AppArmor profile ${JSON.stringify(named)} is not loaded on this host: load it by apparmor_parser`,
    );
  }
  // As with the other runtimes: a kubelet names the default without knowing whether a host has it.
  if (!appArmor.enabled || wanted === 'unconfined' || request.privileged) return null;
  try {
    await appArmor.loadDefault();
    return DEFAULT_APPARMOR_PROFILE;
  } catch (error) {
    if (wanted === 'runtime-default') throw error;
    context.log.warn({ err: error }, 'a container runs without AppArmor profile');
    return null;
  }
}
