/** A URL, or undefined for text that is none. */
export function parseUrl(text: string, base?: string): URL | undefined {
  // URL.parse does this too, but not in every Node 20.
  return URL.canParse(text, base) ? new URL(text, base) : undefined;
}
