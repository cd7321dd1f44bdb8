#!/usr/bin/env node
// Writes an OCI image layout with the host's static busybox: make-busybox-image.js FOLDER [NAME].
import { Buffer } from 'node:buffer';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { arch, argv, exit, stderr, stdout } from 'node:process';
import { gzipSync } from 'node:zlib';

const [folder, name = 'docker.io/library/busybox:local'] = argv.slice(2);
if (folder === undefined) {
  stderr.write('usage: make-busybox-image.js FOLDER [NAME]\n');
  exit(2);
}

const ARCHITECTURES = /** @type {Record<string, string>} */ ({ x64: 'amd64', arm64: 'arm64' });
/** The same every time: the image of the same busybox has the same digest. */
const TIME = 1_700_000_000;

const busybox = execFileSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).trim();
const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n');

const layer = Buffer.concat([
  ...['bin', 'dev', 'etc', 'home', 'proc', 'root', 'sys', 'var', 'www'].map((path) =>
    entry({ name: `${path}/`, type: '5', mode: 0o755 }),
  ),
  entry({ name: 'tmp/', type: '5', mode: 0o1777 }),
  entry({ name: 'bin/busybox', mode: 0o755, data: readFileSync(busybox) }),
  ...applets
    .filter((applet) => applet !== 'busybox')
    .map((applet) => entry({ name: `bin/${applet}`, type: '2', mode: 0o777, link: 'busybox' })),
  entry({
    name: 'etc/passwd',
    data: Buffer.from('root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n'),
  }),
  entry({ name: 'etc/group', data: Buffer.from('root:x:0:\nnogroup:x:65534:\n') }),
  // The end of an archive: two empty blocks.
  Buffer.alloc(1024),
]);

mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true });
const compressed = store(gzipSync(layer), 'application/vnd.oci.image.layer.v1.tar+gzip');
const config = store(
  json({
    architecture: ARCHITECTURES[arch] ?? arch,
    os: 'linux',
    config: { Cmd: ['sh'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
  }),
  'application/vnd.oci.image.config.v1+json',
);
const manifest = store(
  json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: [compressed],
  }),
  'application/vnd.oci.image.manifest.v1+json',
);
writeFileSync(join(folder, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
writeFileSync(
  join(folder, 'index.json'),
  json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ ...manifest, annotations: { 'org.opencontainers.image.ref.name': name } }],
  }),
);
stdout.write(`oci:${folder}:${name}\n`);

/**
 * Puts a blob under its digest and returns its descriptor.
 * @param {Buffer} bytes
 * @param {string} mediaType
 */
function store(bytes, mediaType) {
  const digest = sha256(bytes);
  writeFileSync(join(/** @type {string} */ (folder), 'blobs', 'sha256', digest), bytes);
  return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
}

/** @param {Buffer} bytes */
function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

/** @param {object} value */
function json(value) {
  return Buffer.from(JSON.stringify(value));
}

/**
 * One entry of a tar archive (ustar), with its data.
 * @param {{ name: string, type?: string, mode?: number, link?: string, data?: Buffer }} what
 */
function entry({ name: path, type = '0', mode = 0o644, link = '', data = Buffer.alloc(0) }) {
  const header = Buffer.alloc(512);
  /** @param {string} text @param {number} at */
  const put = (text, at) => header.write(text, at, 'latin1');
  /** @param {number} value @param {number} digits */
  const octal = (value, digits) => `${value.toString(8).padStart(digits, '0')}\0`;
  put(path, 0);
  put(octal(mode, 7), 100);
  put(octal(0, 7), 108);
  put(octal(0, 7), 116);
  put(octal(data.length, 11), 124);
  put(octal(TIME, 11), 136);
  // The checksum counts its own field as blanks.
  put('        ', 148);
  put(type, 156);
  put(link, 157);
  put('ustar\0' + '00', 257);
  put(
    `${octal(
      header.reduce((sum, byte) => sum + byte, 0),
      6,
    )} `,
    148,
  );
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}
