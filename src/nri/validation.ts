/** Asks validators, built in and connected, whether the adjustments of a container may be made. */
import { RuntimeError } from '../core/errors.js';
import type { LimitChange } from '../core/ports/plugins.js';
import type { Adjusting } from './adjustment.js';
import { toLinuxResources } from './facts.js';
import type { Container } from './gen/container.js';
import type { PodSandbox } from './gen/pod.js';
import {
  ValidateContainerAdjustmentRequest,
  ValidateContainerAdjustmentResponse,
} from './gen/validation.js';
import type { Owners } from './owners.js';
import type { Plugin } from './plugin.js';
import { CODE, ConnectionError, StatusError } from './ttrpc.js';

export interface Validation {
  pod: PodSandbox;
  /** As it was before any plugin. */
  container: Container;
  adjusting: Pick<Adjusting, 'adjustment'>;
  owners: Owners;
  updates: readonly LimitChange[];
  /** All that are connected. */
  plugins: readonly Pick<Plugin, 'index' | 'baseName'>[];
}

/** Answers why not, or null. */
export type BuiltInValidator = (validation: Validation) => string | null;

/** Rejects with the first refusal. A validator that hangs or dies is no consent. */
export async function validate(
  validation: Validation,
  builtIn: readonly BuiltInValidator[],
  validators: readonly Plugin[],
): Promise<void> {
  for (const validator of builtIn) {
    const reason = validator(validation);
    if (reason !== null) throw rejected('the default validator', validation.container.id, reason);
  }
  if (validators.length === 0) return;
  const request = ValidateContainerAdjustmentRequest.fromPartial({
    pod: validation.pod,
    container: validation.container,
    adjust: validation.adjusting.adjustment,
    update: validation.updates.map(({ id, resources, ignoreFailure }) => ({
      containerId: id,
      linux: { resources: toLinuxResources(resources) },
      ignoreFailure,
    })),
    owners: validation.owners.toMessage(),
    plugins: validation.plugins.map(({ index, baseName }) => ({ name: baseName, index })),
  });
  await Promise.all(validators.map((plugin) => askOne(plugin, validation.container.id, request)));
}

async function askOne(
  plugin: Plugin,
  container: string,
  request: ValidateContainerAdjustmentRequest,
): Promise<void> {
  const who = `NRI plugin ${plugin.name}`;
  let answer: ValidateContainerAdjustmentResponse;
  try {
    answer = await plugin.call(
      'ValidateContainerAdjustment',
      ValidateContainerAdjustmentRequest,
      ValidateContainerAdjustmentResponse,
      request,
    );
  } catch (error) {
    // One that subscribes to everything without knowing of validation.
    if (error instanceof StatusError && error.code === CODE.unimplemented) return;
    const message = error instanceof Error ? error.message : String(error);
    const what = error instanceof ConnectionError ? 'it is dropped' : 'it failed';
    throw rejected(who, container, `${what}: ${message}`);
  }
  if (answer.reject) throw rejected(who, container, answer.reason);
}

function rejected(who: string, container: string, reason: string): RuntimeError {
  return new RuntimeError(
    'aborted',
    `${who} rejects the adjustments of container ${container}: ${reason}`,
  );
}
