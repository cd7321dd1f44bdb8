/** Pieces of work side by side, none of which goes on behind the back of who waits for them. */

/** Promise.all, but settled only when every piece is; throws what failed first in the order given. */
export async function allDone(pieces: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(pieces)) {
    if (result.status === 'rejected') throw result.reason;
  }
}
