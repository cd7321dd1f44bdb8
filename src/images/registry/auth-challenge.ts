/** The WWW-Authenticate header (RFC 9110, 11.6.1): which credentials a registry wants. */

export interface Challenge {
  /** Lower case. */
  scheme: string;
  parameters: ReadonlyMap<string, string>;
}

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const MOST_CHARACTERS = 8192;

/** Every challenge that can be read; what comes after a piece that can't is left out. */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, MOST_CHARACTERS);
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const skip = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? '';
    at += found.length;
    return found;
  };
  while (at < text.length) {
    skip(/[\s,]*/y);
    const word = skip(TOKEN).toLowerCase();
    if (word === '') break;
    skip(/[ \t]*/y);
    const current = challenges.at(-1);
    if (text[at] === '=' && current) {
      at += 1;
      skip(/[ \t]*/y);
      const quoted = skip(/"(?:[^"\\]|\\.)*"/y);
      const value = quoted === '' ? skip(TOKEN) : quoted.slice(1, -1).replace(/\\(.)/g, '$1');
      current.parameters.set(word, value);
    } else {
      challenges.push({ scheme: word, parameters: new Map() });
    }
  }
  return challenges;
}
