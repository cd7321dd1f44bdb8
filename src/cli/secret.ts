/** A question at the terminal whose answer is not shown. */
import { CommandFailure, usage } from './failure.js';
import type { Session } from './session.js';

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const ERASE = ['\u007f', '\b'];
const MOST_CHARACTERS = 4096;

export async function askSecret(session: Session, question: string): Promise<string> {
  const { terminal } = session;
  if (terminal === undefined)
    throw usage('a password can be asked on a terminal alone: use --creds USER:PASSWORD');
  await session.err.write(question);
  const restore = terminal.makeRaw();
  try {
    const typed: string[] = [];
    for await (const chunk of session.input()) {
      for (const key of chunk.toString('utf8')) {
        if (key === '\r' || key === '\n' || key === CTRL_D) return typed.join('');
        if (key === CTRL_C) throw new CommandFailure('interrupted', 'interrupted');
        if (ERASE.includes(key)) typed.pop();
        else if (typed.length < MOST_CHARACTERS) typed.push(key);
      }
    }
    return typed.join('');
  } finally {
    restore();
    session.releaseInput();
    await session.err.write('\n');
  }
}
