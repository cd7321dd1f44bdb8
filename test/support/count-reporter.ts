/** Mocha's dots and failures, and one line `passed failed skipped` appended to $PVECRI_TEST_COUNTS. */
import { appendFileSync } from 'node:fs';
import Mocha from 'mocha';

export default class CountReporter extends Mocha.reporters.Dot {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    const file = process.env['PVECRI_TEST_COUNTS'];
    if (file === undefined) throw new Error('PVECRI_TEST_COUNTS names no file');
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats;
      appendFileSync(file, `${passes} ${failures} ${pending}\n`);
    });
  }
}
