/** The LVM-thin driver on a kernel that has device mapper. */
import { passesOnOtherKernel } from '../support/user-mode-linux.js';

describe('the LVM-thin driver on another kernel', () => {
  passesOnOtherKernel({
    title: 'keeps its promises',
    program: '/usr/sbin/lvs',
    specs: ['test/integration/storage/thin-*.spec.ts'],
    least: 37,
  });
});
