// Bundles src/main.ts and all it imports into dist/pvecri.js and the chunks it loads when needed.
// BUNDLE_ENTRY=FILE and BUNDLE_OUT=FOLDER take the place of these two.
import { chmod, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { env, exit } from 'node:process';
import { build } from 'esbuild';

const entry = env['BUNDLE_ENTRY'] ?? 'src/main.ts';
const out = env['BUNDLE_OUT'] ?? 'dist';

// CommonJS packages (grpc-js, pino) call require and look at __dirname; a module has neither. Every
// file starts with this, for a first line of `#!` is allowed in modules that nobody executes, too.
const banner = `#!/usr/bin/env node
import { createRequire as pvecriCreateRequire } from 'node:module';
const require = pvecriCreateRequire(import.meta.url);
const __filename = import.meta.filename;
const __dirname = import.meta.dirname;`;

const { outputFiles } = await build({
  entryPoints: { pvecri: entry },
  outdir: out,
  // Beside each other: the native part is found relative to the file that asks for it.
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  write: false,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  // Native addons are loaded by path at run time.
  external: ['*.node'],
  banner: { js: banner },
  sourcemap: 'linked',
  legalComments: 'linked',
  logLevel: 'warning',
  // esbuild has told what is wrong, with file and line.
}).catch(() => exit(1));

await mkdir(out, { recursive: true });
const names = new Set(outputFiles.map(({ path }) => basename(path)));
// Chunks first, the file that names them last, and each by rename: a command that is started in the
// middle of a build finds the old files or the new ones.
const main = 'pvecri.js';
for (const { path, contents } of outputFiles.sort(
  (a, b) => Number(basename(a.path) === main) - Number(basename(b.path) === main),
)) {
  await writeFile(`${path}.new`, contents);
  if (basename(path) === main) await chmod(`${path}.new`, 0o755);
  await rename(`${path}.new`, path);
}
for (const name of await readdir(out)) {
  if (/\.js(\.map|\.LEGAL\.txt)?$/.test(name) && !names.has(name)) await rm(join(out, name));
}
