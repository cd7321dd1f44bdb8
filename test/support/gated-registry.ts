/**
 * A program: serves the one image of an OCI layout as a registry does, and gives no more than half of
 * each layer until the file `open` lies in the layout's folder. It prints its host.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HttpServer } from './http-server.js';

interface Descriptor {
  mediaType: string;
  digest: string;
}

const [folder = ''] = process.argv.slice(2);
const blob = (digest: string): Buffer =>
  readFileSync(join(folder, 'blobs', digest.replace(':', '/')));
const { manifests } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
  manifests: Descriptor[];
};
const [root] = manifests;
if (root === undefined) throw new Error('the layout holds no image');
const { layers } = JSON.parse(blob(root.digest).toString()) as { layers: Descriptor[] };

const server = await HttpServer.start((request, response) => {
  const named = request.url?.split('/').at(-1) ?? '';
  if (request.url?.includes('/manifests/') === true) {
    response.writeHead(200, { 'content-type': root.mediaType }).end(blob(root.digest));
    return;
  }
  const bytes = blob(named);
  response.writeHead(200, { 'content-length': bytes.length });
  if (!layers.some(({ digest }) => digest === named)) {
    response.end(bytes);
    return;
  }
  response.write(bytes.subarray(0, bytes.length / 2));
  const timer = setInterval(() => {
    if (response.destroyed) clearInterval(timer);
    if (!existsSync(join(folder, 'open'))) return;
    clearInterval(timer);
    response.end(bytes.subarray(bytes.length / 2));
  }, 20);
});
process.stdout.write(`${server.host}\n`);
