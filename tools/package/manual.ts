// Man pages, and what shells complete: both from the command trees, as the reference page is.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { exitCodes } from '../../packages/contracts/src/errors.ts';
import { examplesOf } from '../../packages/teleport/src/cli/output.ts';
import { tctlProgram } from '../../packages/teleport/src/cli/tctl/main.ts';
import { teleportProgram } from '../../packages/teleport/src/cli/teleport/main.ts';
import { tshProgram } from '../../packages/teleport/src/cli/tsh/main.ts';

type Command = ReturnType<typeof tctlProgram>;

/** The daemon is an administrator's (section 8), the clients are everybody's. */
export const manualPages = {
  'man8/teleport.8': teleportProgram,
  'man8/tctl.8': tctlProgram,
  'man1/tsh.1': tshProgram,
};

/** Compressed as Debian wants it: the best there is, and no time or name inside. */
export function writeManuals(into: string, version: string): void {
  for (const [path, program] of Object.entries(manualPages)) {
    const section = path.at(-1) ?? '';
    const page = manualPage(program(), section, version);
    writeFileSync(join(into, `${path}.gz`), gzipSync(page, { level: 9 }));
  }
}

export function manualPage(program: Command, section: string, version: string): string {
  const name = program.name();
  const lines = [
    `.TH ${name.toUpperCase()} ${section} "" "Sallyport ${version}" "Sallyport"`,
    '.SH NAME',
    `${name} \\- ${troff(program.description().replace(/\.$/, ''))}`,
    '.SH SYNOPSIS',
    `.B ${name}`,
    '.I command',
    '[\\fIflags\\fR] [\\fIarguments\\fR]',
    '.SH COMMANDS',
    ...program.commands.flatMap((command) => commandLines(command, name)),
    '.SH EXIT STATUS',
    '0 when it was done; otherwise by the kind of what went wrong:',
    ...Object.entries(exitCodes).flatMap(([kind, code]) => [
      '.TP',
      `.B ${code}`,
      troff(kind.replaceAll('_', ' ')),
    ]),
    '.SH ENVIRONMENT',
    '.TP\n.B DEBUG\nWhen set, an error is told with the place it came from.',
    '.TP\n.B NO_COLOR\nWhen set, nothing is coloured.',
  ];
  return `${lines.join('\n')}\n`;
}

function commandLines(command: Command, parent: string): string[] {
  const path = `${parent} ${command.name()}`;
  if (command.commands.length > 0) return command.commands.flatMap((each) => commandLines(each, path));
  const words = command.registeredArguments.map((each) => {
    const name = each.variadic ? `${each.name()}...` : each.name();
    return each.required ? name : `[${name}]`;
  });
  const options = command.options.flatMap(({ flags, description, defaultValue }) => [
    '.RS\n.TP',
    `.B ${troff(flags)}`,
    `${troff(description)}${typeof defaultValue === 'string' && !description.includes('default') ? ` (default: ${troff(defaultValue)})` : ''}`,
    '.RE',
  ]);
  const shown = examplesOf(command);
  const lines =
    shown.length === 0 ? [] : ['.RS\n.PP\n.EX', ...shown.map((line) => `$ ${troff(line)}`), '.EE\n.RE'];
  return [
    '.TP',
    `.B ${troff([path, ...words].join(' '))}`,
    troff(command.description()),
    ...options,
    ...lines,
  ];
}

/** troff(7): a backslash, a hyphen that must be copied as one, and a line that begins like a request. */
function troff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/gm, '\\&$1')
    .replace(
      /[^\0-\x7f]/gu,
      (letter) => `\\[u${letter.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}]`,
    );
}
