/** For mocha's --require: limits of tests and hooks grow with the patience that is asked for. */
import Mocha from 'mocha';
import { patient } from './patience.js';

// What this.timeout(...) of a test, a hook and a suite end in, and --timeout too.
const { prototype } = Mocha.Runnable as unknown as {
  prototype: { timeout: (this: Mocha.Runnable, ms?: number | string) => unknown };
};
const original = prototype.timeout;
prototype.timeout = function timeout(ms) {
  return typeof ms === 'number' ? original.call(this, patient(ms)) : original.apply(this, []);
};
