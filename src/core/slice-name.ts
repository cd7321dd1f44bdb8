/** Names of systemd slices, and the cgroups they stand for: `a-b.slice` is `/a.slice/a-b.slice`. */
import { RuntimeError } from './errors.js';

const SUFFIX = '.slice';
/** UNIT_NAME_MAX of systemd, without its closing NUL. */
const NAME_MAX = 255;
/** A deep slice repeats its ancestors' names; below it our own and liblxc's folders must fit in PATH_MAX. */
const PATH_MAX = 2048;
/** systemd puts an underscore before a name that the kernel might take for one of its own files. */
const KERNEL_FILE =
  /^([_.]|(tasks|release_agent|notify_on_release)$|(cgroup|cpu|cpuacct|cpuset|io|blkio|memory|devices|pids|hugetlb|misc|rdma)\.)/;

/** The cgroup of a slice. Throws invalid-argument for what is no name of one (systemd.slice(5)). */
export function slicePath(name: string): string {
  const refuse = (why: string): RuntimeError =>
    new RuntimeError(
      'invalid-argument',
      `systemd slice ${JSON.stringify(name.slice(0, 300))} is malformed: ${why}`,
    );
  if (!name.endsWith(SUFFIX)) throw refuse('it must end in .slice');
  if (name.length > NAME_MAX) throw refuse(`it is longer than ${NAME_MAX} characters`);
  const stem = name.slice(0, -SUFFIX.length);
  if (stem === '-') throw refuse('it is the root slice, which is the whole host');
  if (!/^[A-Za-z0-9:_.\\-]+$/.test(stem)) {
    throw refuse(
      'it may have letters, digits, ":", "_", ".", "-" and "\\" alone; escape others as systemd-escape does',
    );
  }
  if (stem.includes('..')) throw refuse('it has ".."');
  const words = stem.split('-');
  if (words.includes('')) throw refuse('each dash must stand between two words');
  const parts = words.map((_, last) => words.slice(0, last + 1).join('-') + SUFFIX);
  // All ancestors begin with the same word.
  if (KERNEL_FILE.test(name)) {
    throw refuse('systemd would escape it in the cgroup tree: choose another first word');
  }
  const path = parts.map((part) => `/${part}`).join('');
  if (path.length > PATH_MAX) throw refuse(`it is nested too deeply: ${words.length} levels`);
  return path;
}
