/** Images as volumes, by drivers whose layers are volumes. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { containerId, type DriverBench } from '../../support/driver-bench.js';
import { file, folder, symlink } from '../../support/tar.js';

/** A whole image and a folder of it, read-only, while containers are made of it and write. */
export async function mountsImages(bench: DriverBench): Promise<void> {
  const image = await bench.image([folder('d/'), file('d/a', 'a')], [symlink('d/out', '/etc')]);
  const id = containerId(1);
  await bench.driver.prepare(id, image);
  const whole = bench.hold(await bench.driver.mountImage(image, ''));
  const inside = bench.hold(await bench.driver.mountImage(image, 'd'));
  await bench.merged(id, image, (root) => {
    writeFileSync(`${root}/d/a`, 'changed');
  });
  assert.deepEqual(readdirSync(`/proc/self/fd/${whole}`), ['d']);
  assert.equal(readFileSync(`/proc/self/fd/${inside}/a`, 'utf8'), 'a');
  assert.throws(
    () => {
      writeFileSync(`/proc/self/fd/${inside}/b`, '');
    },
    { code: 'EROFS' },
  );
  // As the image has it, it leads nowhere.
  for (const subPath of ['d/out', 'd/a', 'nosuch']) {
    await assert.rejects(bench.driver.mountImage(image, subPath), {
      kind: 'not-found',
      message: /is no folder in image/,
    });
  }
  bench.unmount(whole);
  bench.unmount(inside);
  const other = containerId(2);
  await bench.driver.prepare(other, image);
}
