// Completion scripts from the command tree, so that they know every command there is.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Command } from 'commander';
import { print } from './output.ts';

export function completionAction(command: Command, shell: string): void {
  const write = { bash, zsh, fish }[shell];
  if (write === undefined) {
    throw new AppError('bad_input', 'cli.unknown_shell', `There is no completion for "${shell}".`, {
      hint: 'The shells are bash, zsh and fish.',
    });
  }
  print(write(command.name(), wordsByCommand(command)));
}

/** "users add" → what may follow it: subcommands, then long flags. */
function wordsByCommand(command: Command, path: readonly string[] = []): Map<string, string[]> {
  const subcommands = command.commands.map((each) => each.name());
  const flags = [...command.options.map((option) => option.long ?? option.short ?? ''), '--help'];
  const words = new Map([[path.join(' '), [...subcommands, ...flags]]]);
  for (const each of command.commands)
    for (const [key, value] of wordsByCommand(each, [...path, each.name()])) words.set(key, value);
  return words;
}

function bash(name: string, words: ReadonlyMap<string, string[]>): string {
  const cases = [...words].map(([path, next]) => `    "${path}") words="${next.join(' ')}" ;;`);
  // Flags are dropped from the path; the first words that name a command decide.
  return `_${name}() {
  local words="" path="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
  [ \${#COMPREPLY[@]} -gt 0 ] || compopt -o default 2>/dev/null
}
complete -F _${name} ${name}`;
}

function zsh(name: string, words: ReadonlyMap<string, string[]>): string {
  return `#compdef ${name}\nautoload -U +X bashcompinit && bashcompinit\n${bash(name, words)}`;
}

function fish(name: string, words: ReadonlyMap<string, string[]>): string {
  const lines = [...words].flatMap(([path, next]) => {
    const condition =
      path === '' ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${path.split(' ').at(-1)}`;
    const subcommands = next.filter((word) => !word.startsWith('-'));
    const flags = next.filter((word) => word.startsWith('--'));
    return [
      ...(subcommands.length === 0
        ? []
        : [`complete -c ${name} -n '${condition}' -f -a '${subcommands.join(' ')}'`]),
      ...flags.map((flag) => `complete -c ${name} -n '${condition}' -l ${flag.slice(2)}`),
    ];
  });
  return lines.join('\n');
}
