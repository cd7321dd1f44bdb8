/**
 * Completion scripts. All they do is ask `pvecri __complete -- WORDS…` and show its lines, each a
 * candidate and, behind a tab, what it is; the one line `:files` stands for names of files.
 */

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

const BASH = `# bash completion for pvecri: . <(pvecri completion bash)
_pvecri() {
  local line=\${COMP_LINE:0:COMP_POINT} words current prefix lines
  # bash's own words are split at ":" and "=", which are part of names here.
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  current=\${words[-1]}
  mapfile -t lines < <("\${words[0]}" __complete -- "\${words[@]:1}" 2> /dev/null)
  if [[ \${lines[0]} == :files ]]; then
    compopt -o filenames 2> /dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    return
  fi
  COMPREPLY=()
  # What stands before the last ":" or "=" is not part of the word that bash replaces.
  prefix=\${current%"\${current##*[:=]}"}
  local candidate
  for candidate in "\${lines[@]%%$'\\t'*}"; do
    [[ -n $candidate ]] && COMPREPLY+=("\${candidate#"$prefix"}")
  done
}
complete -F _pvecri pvecri
`;

const ZSH = `#compdef pvecri
# zsh completion for pvecri: pvecri completion zsh > /usr/local/share/zsh/site-functions/_pvecri
_pvecri() {
  local -a lines described
  local line word
  lines=("\${(@f)$("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2> /dev/null)}")
  if [[ \${lines[1]} == :files ]]; then
    _files
    return
  fi
  for line in $lines; do
    word=\${line%%$'\\t'*}
    described+=("\${word//:/\\\\:}:\${line#*$'\\t'}")
  done
  _describe pvecri described
}
if [ "$funcstack[1]" = _pvecri ]; then
  _pvecri "$@"
else
  compdef _pvecri pvecri
fi
`;

const FISH = `# fish completion for pvecri: pvecri completion fish > ~/.config/fish/completions/pvecri.fish
function __pvecri_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l lines ($words[1] __complete -- $words[2..-1] "$current" 2> /dev/null)
  if test "$lines[1]" = :files
    __fish_complete_path "$current"
  else
    printf '%s\\n' $lines
  end
end
complete -c pvecri -f -a '(__pvecri_complete)'
`;

export function completionScript(shell: Shell): string {
  return { bash: BASH, zsh: ZSH, fish: FISH }[shell];
}
