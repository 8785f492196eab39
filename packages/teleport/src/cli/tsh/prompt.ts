// Questions on the terminal. They go to the terminal itself (/dev/tty), so that stdin and stdout can be pipes.
import { closeSync, openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { ReadStream, WriteStream } from 'node:tty';
import { AppError } from '@sallyport/contracts/errors.ts';

/** Answers on stdin, one a line, for scripts: set by a hidden flag of the test, or when there is no terminal. */
let piped: AsyncIterator<string> | undefined;

export async function ask(question: string, options: { readonly hidden?: boolean } = {}): Promise<string> {
  const terminal = openTerminal();
  if (terminal === undefined) return readPiped(question);
  try {
    return await askOn(terminal, question, options.hidden === true);
  } finally {
    terminal.input.destroy();
    terminal.output.destroy();
  }
}

interface Terminal {
  readonly input: ReadStream;
  readonly output: WriteStream;
}

function openTerminal(): Terminal | undefined {
  // A pipe on stdin is a script that answers, even where there is a terminal as well.
  if (!process.stdin.isTTY) return undefined;
  let input: number | undefined;
  try {
    input = openSync('/dev/tty', 'r');
    return { input: new ReadStream(input), output: new WriteStream(openSync('/dev/tty', 'w')) };
  } catch {
    if (input !== undefined) closeSync(input);
    return undefined;
  }
}

async function readPiped(question: string): Promise<string> {
  const { stdin } = process;
  piped ??= createInterface({ input: stdin })[Symbol.asyncIterator]();
  stdin.ref?.();
  const { value, done } = await piped.next();
  // Whoever keeps the pipe open after the last answer must not keep us. A file has no such thing, and ends.
  stdin.unref?.();
  if (done !== true) return value;
  throw new AppError(
    'bad_input',
    'tsh.no_answer',
    `There is nobody to ask for: ${question.replace(/[:\s]+$/, '')}.`,
    {
      hint: 'Run tsh on a terminal, or give the answers on stdin, one a line.',
    },
  );
}

/** Line editing is backspace only: enough for a password, and nothing of it is ever shown or kept. */
function askOn({ input, output }: Terminal, question: string, hidden: boolean): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  // Before the question: who answers at once must neither see the answer nor be answered by the terminal itself.
  input.setRawMode(true);
  let text = '';
  const finish = (action: () => void) => {
    input.setRawMode(false);
    output.write('\n');
    action();
  };
  const interrupted = () => new AppError('bad_input', 'tsh.interrupted', 'Interrupted.');
  input.on('data', (bytes: Buffer) => {
    for (const char of bytes.toString('utf8')) {
      if (char === '\r' || char === '\n') return finish(() => resolve(text));
      if (char === '\u0003' || (char === '\u0004' && text === '')) return finish(() => reject(interrupted()));
      if (char === '\u007f' || char === '\b') {
        if (text !== '' && !hidden) output.write('\b \b');
        text = [...text].slice(0, -1).join('');
      } else if (char >= ' ') {
        text += char;
        if (!hidden) output.write(char);
      }
    }
  });
  input.on('end', () => reject(interrupted()));
  output.write(question);
  return promise;
}
