/** How a test runs a script of the project as a process of its own. */
import { join, resolve } from 'node:path';

/** Arguments of Node.js; `path` is below the project's folder, without its ending. */
export function scriptArguments(path: string): string[] {
  // On the test node everything is JavaScript already.
  const isSource = import.meta.filename.endsWith('.ts');
  const project = resolve(import.meta.dirname, '../..');
  return isSource
    ? ['--import', 'tsx', join(project, `${path}.ts`)]
    : [join(project, `${path}.js`)];
}
