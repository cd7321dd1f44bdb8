/** The overlay driver on a kernel that has project quotas, and is too old for most of the new mount API. */
import { passesOnOtherKernel } from '../support/user-mode-linux.js';

describe('the overlay driver on another kernel', () => {
  passesOnOtherKernel({
    title: 'keeps its promises with project quotas, by the old mount API',
    specs: [
      'test/integration/storage/overlay-contract.spec.ts',
      'test/integration/storage/overlay-quota.spec.ts',
      'test/integration/storage/overlay-probe.spec.ts',
      'test/integration/native/idmapped-overlay.spec.ts',
    ],
    // The contract with limits on ext4 and XFS, layers idmapped by paths, a tmpfs that is refused.
    grep: 'with quotas|at its start|mountOverlay with a user namespace',
    least: 85,
  });
});
