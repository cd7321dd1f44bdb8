/** Detection of the characters that would end, split or hide a line: C0 controls, NUL and DEL. */

const CONTROL = /[\u0000-\u001f\u007f]/;

export function hasControlCharacter(text: string): boolean {
  return CONTROL.test(text);
}
