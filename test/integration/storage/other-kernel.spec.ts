/**
 * Storage on a kernel that has project quotas and device mapper, and is too old for most of the new mount
 * API.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
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
    await passes(SPECS, SUBJECTS, LEAST);
  });

  it('the LVM-thin driver keeps its promises', async function () {
    if (!existsSync('/usr/sbin/lvs')) this.skip();
    await passes(['test/integration/storage/thin-*.spec.ts'], '', 37);
  });

  async function passes(specs: string[], subjects: string, least: number): Promise<void> {
    const { status, passing, output } = await runSpecs(specs, subjects);
    const failures = output.replace(/^ *✔.*\n/gm, '');
    assert.equal(status, 0, failures);
    assert.ok(passing >= least, `${passing} passed\n${failures}`);
  }
});
