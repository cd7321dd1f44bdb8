/** The refusal of a field that is not supported yet: never ignored in silence. */
import { RuntimeError } from '../core/errors.js';

export function unsupported(field: string, feature: string): RuntimeError {
  return new RuntimeError(
    'unimplemented',
    `${field}: ${feature} are not supported yet: leave it out`,
  );
}
