/** Storage on a kernel that has project quotas, and is too old for most of the new mount API. */
import assert from 'node:assert/strict';
import { patient } from '../../support/patience.js';
import { runSpecs, whyNoUserModeLinux } from '../../support/user-mode-linux.js';

describe('on another kernel', function () {
  this.timeout(patient(300_000));

  before(function () {
    const reason = whyNoUserModeLinux();
    if (reason === undefined) return;
    console.log(`    skipped: ${reason}`);
    this.skip();
  });

  it('the overlay driver keeps its promises with quotas of ext4 and XFS', async () => {
    await passes(['overlay-contract.spec.ts', 'overlay-quota.spec.ts'], 'with quotas', 60);
  });

  it('layers are idmapped by paths', async () => {
    await passes(['../native/idmapped-overlay.spec.ts'], '', 7);
  });

  it('a tmpfs without user attributes is refused', async () => {
    await passes(['overlay-probe.spec.ts'], '', 1);
  });

  async function passes(names: string[], grep: string, least: number): Promise<void> {
    const specs = names.map((name) => `test/integration/storage/${name}`);
    const { status, passing, output } = await runSpecs(specs, grep);
    const failures = output.replace(/^ *✔.*\n/gm, '');
    assert.equal(status, 0, failures);
    assert.ok(passing >= least, failures);
  }
});
