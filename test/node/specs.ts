/** The test files whose subject is real on the test node alone, or differs there. */
export const SPECS = [
  'test/node/*.spec.ts',
  'test/integration/agent/*.spec.ts',
  'test/integration/cgroup/*.spec.ts',
  'test/integration/lxc/*.spec.ts',
];
