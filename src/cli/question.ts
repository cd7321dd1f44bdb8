/** A question at the terminal, answered by a line. */
import type { Session } from './session.js';

const MOST_CHARACTERS = 1000;

/** '' at the end of input. */
export async function askLine(session: Session, question: string): Promise<string> {
  await session.err.write(question);
  let typed = '';
  try {
    for await (const chunk of session.input()) {
      typed += chunk.toString('utf8');
      if (typed.includes('\n') || typed.length > MOST_CHARACTERS) break;
    }
  } finally {
    session.releaseInput();
  }
  return typed.split('\n', 1)[0] ?? '';
}
