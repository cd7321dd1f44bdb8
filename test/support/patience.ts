/** $PVECRI_TEST_PATIENCE: how many times longer than usual things may take, on an emulated machine. */
export const PATIENCE = Number(process.env['PVECRI_TEST_PATIENCE'] ?? '1');

/** A limit in milliseconds, or of attempts, as long as this machine needs. */
export function patient(ms: number): number {
  return ms * PATIENCE;
}
