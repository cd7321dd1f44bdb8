/** Certificates and keys that hosts.toml names, checked where they are read: TLS itself names no file. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { wrap } from '../../core/errors.js';
import type { ClientCertificate } from './tls-context.js';

export async function readCa(folder: string, file: string): Promise<string> {
  const text = await read(folder, file, 'ca');
  try {
    new X509Certificate(text);
    return text;
  } catch (error) {
    throw wrap(error, `ca ${file} holds no PEM certificate`, 'failed-precondition');
  }
}

/** `keyFile` is '' when the key is in the certificate's file. */
export async function readClientPair(
  folder: string,
  certFile: string,
  keyFile: string,
): Promise<ClientCertificate> {
  const cert = await read(folder, certFile, 'client');
  const key = keyFile === '' ? cert : await read(folder, keyFile, 'client');
  try {
    createSecureContext({ cert, key });
    return { cert, key };
  } catch (error) {
    const files = keyFile === '' ? certFile : `${certFile} and ${keyFile}`;
    throw wrap(error, `client ${files} are no certificate and its key`, 'failed-precondition');
  }
}

async function read(folder: string, file: string, key: string): Promise<string> {
  try {
    return await readFile(resolve(folder, file), 'utf8');
  } catch (error) {
    throw wrap(error, `${key} ${file} cannot be read`, 'failed-precondition');
  }
}
