/** Where the cgroup v2 hierarchy is mounted: /sys/fs/cgroup, or beside the v1 ones on a hybrid host. */

/**
 * Reads the text of /proc/self/mountinfo (proc_pid_mountinfo(5)). The usual place wins when the
 * hierarchy is mounted more than once; a mount of a part of it is no use.
 */
export function findCgroup2Mount(mountinfo: string): string | undefined {
  const points: string[] = [];
  for (const line of mountinfo.split('\n')) {
    // id parent device root mount-point options [tags…] - type source super-options
    const fields = line.split(' ');
    const separator = fields.indexOf('-', 6);
    if (separator < 0 || fields[separator + 1] !== 'cgroup2' || fields[3] !== '/') continue;
    points.push(unescapeOctal(fields[4] ?? ''));
  }
  return points.find((point) => point === '/sys/fs/cgroup') ?? points[0];
}

/** The kernel writes space, tab, newline and backslash as \ooo. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
