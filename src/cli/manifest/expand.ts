/** `$(NAME)` references in command, args and env, with the rules of Kubernetes. */

/**
 * `$(NAME)` becomes the variable's value, `$$` a dollar sign; a reference to a variable that does not
 * exist, and a dollar sign with anything else behind it, stay as they are.
 */
export function expandVariables(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replace(/\$(?:\$|\(([^)]*)\))/g, (match, name: string | undefined) =>
    name === undefined ? '$' : (variables.get(name) ?? match),
  );
}
