/** A throw-away folder for one test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Makes a folder under /tmp or `parent`; the caller removes it, or lets `withTempFolder` do so. */
export function makeTempFolder(parent = tmpdir()): string {
  return mkdtempSync(join(parent, 'pvecri-test-'));
}

export function removeTempFolder(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

export async function withTempFolder<T>(work: (path: string) => T | Promise<T>): Promise<T> {
  const path = makeTempFolder();
  try {
    return await work(path);
  } finally {
    removeTempFolder(path);
  }
}
