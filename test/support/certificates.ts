/** A certificate authority of a test's own, and what it vouches for, by openssl. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const KEY = ['-newkey', 'rsa:2048', '-nodes'];

/** `ca.crt` and `ca.key` in the folder. */
export function makeAuthority(folder: string): void {
  const files = ['-keyout', join(folder, 'ca.key'), '-out', join(folder, 'ca.crt')];
  openssl(['req', '-x509', ...KEY, '-days', '2', '-subj', '/CN=test authority', ...files]);
}

/** `NAME.crt` and `NAME.key`, for the alternative names (`IP:127.0.0.1`, `DNS:localhost`) if any. */
export function makeCertificate(folder: string, name: string, names = ''): void {
  const path = (suffix: string): string => join(folder, `${name}.${suffix}`);
  openssl(['req', ...KEY, '-subj', `/CN=${name}`, '-keyout', path('key'), '-out', path('csr')]);
  writeFileSync(
    path('ext'),
    names === '' ? 'basicConstraints=CA:FALSE' : `subjectAltName=${names}`,
  );
  const signer = ['-CA', join(folder, 'ca.crt'), '-CAkey', join(folder, 'ca.key')];
  const sign = ['x509', '-req', '-days', '2', '-CAcreateserial', '-extfile', path('ext')];
  openssl([...sign, ...signer, '-in', path('csr'), '-out', path('crt')]);
}

function openssl(words: string[]): void {
  execFileSync('openssl', words, { stdio: 'pipe' });
}
