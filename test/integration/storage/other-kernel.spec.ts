/** Storage on a kernel that has project quotas, and is too old for most of the new mount API. */
import assert from 'node:assert/strict';
import { patient } from '../../support/patience.js';
import { runSpecs, whyNoUserModeLinux } from '../../support/user-mode-linux.js';

const SPECS = [
  'test/integration/storage/overlay-contract.spec.ts',
  'test/integration/storage/overlay-quota.spec.ts',
  'test/integration/storage/overlay-probe.spec.ts',
  'test/integration/native/idmapped-overlay.spec.ts',
];
/** The contract with limits on ext4 and XFS, layers idmapped by paths, a tmpfs that is refused. */
const SUBJECTS = 'with quotas|at its start|mountOverlay with a user namespace';
const LEAST = 85;

describe('on another kernel', function () {
  this.timeout(patient(450_000));

  before(function () {
    const reason = whyNoUserModeLinux();
    if (reason === undefined) return;
    console.log(`    skipped: ${reason}`);
    this.skip();
  });

  it('the overlay driver keeps its promises with project quotas, by the old mount API', async () => {
    const { status, passing, output } = await runSpecs(SPECS, SUBJECTS);
    const failures = output.replace(/^ *✔.*\n/gm, '');
    assert.equal(status, 0, failures);
    assert.ok(passing >= LEAST, `${passing} passed\n${failures}`);
  });
});
