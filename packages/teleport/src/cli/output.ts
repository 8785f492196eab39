// How every command talks: tables, JSON, colours, errors, exit codes. Knows no command.
import { styleText } from 'node:util';
import { AppError, describeError, exitCodes } from '@sallyport/contracts/errors.ts';
import { Command, CommanderError } from 'commander';
import { lightenZod } from './light-zod.ts';

const usageExitCode = 2;

/** Results go to stdout and nothing else does, so that they can be piped. */
export function print(text = ''): void {
  process.stdout.write(`${text}\n`);
}

/** What a person should know besides the result. */
export function notice(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';

/** Coloured on a terminal only, and never with NO_COLOR set (styleText looks at both). */
export function styled(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(style, text, { stream });
}

/** Columns as wide as their widest cell. Cells hold no colour: it would count as width. */
export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const clean = rows.map((row) => row.map(visible));
  const widths = headers.map((header, i) =>
    Math.max(header.length, ...clean.map((row) => (row[i] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join(' ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width)).join(' ');
  return [styled('bold', line(headers)), rule, ...clean.map(line)].join('\n');
}

/** A name or label could hold escape codes that would repaint the reader's terminal. */
export function visible(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}

/** A command with its manners: errors go through `run`, usage mistakes show where to read on. */
export function program(name: string, description: string): Command {
  const command = new Command(name).description(description);
  return command
    .exitOverride()
    .showHelpAfterError(`(run "${name} --help" for the commands and flags)`)
    .configureHelp({ sortSubcommands: false, showGlobalOptions: true });
}

const shownExamples = new WeakMap<Command, readonly string[]>();

/** Examples under `--help`, and in the reference page. */
export function examples(command: Command, ...lines: readonly string[]): Command {
  shownExamples.set(command, lines);
  return command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`);
}

export function examplesOf(command: Command): readonly string[] {
  return shownExamples.get(command) ?? [];
}

/** Runs the command line and sets the exit code. Nothing else in a CLI ends the process. */
export async function run(command: Command, argv: readonly string[] = process.argv): Promise<void> {
  ignoreClosedPipe();
  // Set by bin/ for this process; nothing that we start is to inherit it.
  delete process.env['NODE_COMPILE_CACHE'];
  // The daemon starts once, and what it loads need not be looked at.
  if (command.name() !== 'teleport') lightenZod();
  try {
    await command.parseAsync([...argv]);
  } catch (error) {
    process.exitCode = report(error);
  }
}

/** Tells the person what went wrong and returns the exit code. */
export function report(error: unknown): number {
  // Commander has printed its own message; --help and --version arrive here too, with 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : usageExitCode;
  const appError = AppError.from(error);
  notice(`${styled('red', 'ERROR:', process.stderr)} ${describeError(appError)}`);
  if (process.env['DEBUG'] !== undefined) console.error(error);
  else if (!(error instanceof AppError)) notice('Set DEBUG=1 to see where it happened.');
  return exitCodes[appError.kind];
}

let endsWithReader = true;

/** For what runs on when nobody reads its standard output or error any more. */
export function outliveReader(): void {
  endsWithReader = false;
}

/** `tctl … | head` closes the pipe early: that is no error. */
function ignoreClosedPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (!endsWithReader) return;
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  // Nobody could be told.
  process.stderr.on('error', () => {});
}

/** `--logins=root,ubuntu`: split at commas, blanks and empties dropped. May be given several times. */
export function commaList(value: string, previous: readonly string[] = []): string[] {
  const parts = value.split(',').map((part) => part.trim());
  return [...previous, ...parts.filter((part) => part !== '')];
}
