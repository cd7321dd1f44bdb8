/** One step of a verb, whose failure says of which object and what could not be done. */
import { wrap } from '../core/errors.js';

/** `subject` is the object with its id, `what` completes "cannot …". */
export async function step<T>(subject: string, what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw wrap(error, `${subject}: cannot ${what}`);
  }
}
