// A session joined to this process's own stdin, stdout and terminal.
import { spawnSync } from 'node:child_process';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { WindowSize } from '../../ssh-transport/session-channel.ts';
import type { ClientSession, ExitStatus } from '../../ssh-transport/ssh-client.ts';
import { notice } from '../output.ts';
import { EscapeReader } from './escape.ts';

/** TTY_OP_END alone (RFC 4254 section 8): the node's own defaults. */
const noModes = Buffer.of(0);

export async function runBatch(
  session: ClientSession,
  command: string | undefined,
): Promise<ExitStatus | undefined> {
  await start(session, command);
  const output = [copy(session.stdout, process.stdout), copy(session.stderr, process.stderr)];
  feed(session).catch(() => session.eof());
  const passOn = (signal: NodeJS.Signals) => session.signal(signal.slice('SIG'.length));
  process.on('SIGINT', passOn).on('SIGTERM', passOn);
  try {
    const status = await session.exited;
    await Promise.all(output);
    return status;
  } finally {
    process.off('SIGINT', passOn).off('SIGTERM', passOn);
    // Whoever still types into our stdin must not keep the process alive.
    process.stdin.destroy();
  }
}

/** `left`: the person typed `~.`; undefined: the connection ended. */
export async function runInteractive(
  session: ClientSession,
  command: string | undefined,
): Promise<ExitStatus | 'left' | undefined> {
  const granted = await session.pty({
    term: process.env['TERM'] ?? 'xterm',
    ...windowSize(),
    modes: noModes,
  });
  if (!granted) throw new AppError('denied', 'tsh.no_pty', 'The node does not give this session a terminal.');
  await start(session, command);
  const resize = () => session.windowChange(windowSize());
  process.stdout.on('resize', resize);
  try {
    return await attach(session);
  } finally {
    process.stdout.off('resize', resize);
  }
}

async function attach(session: ClientSession): Promise<ExitStatus | 'left' | undefined> {
  const { stdin, stdout } = process;
  const terminal = stdin.isTTY === true;
  if (terminal) makeRaw();
  const output = [copy(session.stdout, stdout), copy(session.stderr, process.stderr)];
  const left = Promise.withResolvers<'left'>();
  type(session, terminal, () => left.resolve('left')).catch(() => session.eof());
  try {
    const status = await Promise.race([session.exited, left.promise]);
    if (status !== undefined && status !== 'left') await Promise.all(output);
    return status;
  } finally {
    if (terminal) stdin.setRawMode(false);
    stdin.destroy();
  }
}

/**
 * A session of somebody else: its terminal is there already, and its size is the owner's. What keys mean is the node's
 * business, but for `~.`. Results as of `runInteractive`.
 */
export async function runJoined(session: ClientSession): Promise<ExitStatus | 'left' | undefined> {
  if (!(await session.shell()))
    throw new AppError('denied', 'tsh.not_joined', 'The node does not let you join the session.');
  return attach(session);
}

/**
 * The far terminal has done with line ends what there is to do. Node's raw mode still turns each line feed that comes
 * back into a carriage return with it, which tears up what full-screen programs draw; termios(3) is out of Node's reach.
 * Leaving raw mode restores everything.
 */
function makeRaw(): void {
  process.stdin.setRawMode(true);
  spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
}

async function start(session: ClientSession, command: string | undefined): Promise<void> {
  const started = command === undefined ? await session.shell() : await session.exec(command);
  if (started) return;
  const what = command === undefined ? 'a shell' : 'the command';
  throw new AppError('denied', 'tsh.not_started', `The node did not start ${what}.`, {
    hint: 'The session may not be recordable, or a limit was reached; the audit log of the cluster says why.',
  });
}

function windowSize(): WindowSize {
  const { columns = 80, rows = 24 } = process.stdout;
  return { cols: columns, rows, xpixel: 0, ypixel: 0 };
}

/** Waits for whoever reads us: that is how the node learns to slow down. */
async function copy(from: AsyncIterable<Buffer>, to: NodeJS.WriteStream): Promise<void> {
  for await (const bytes of from) {
    if (!to.write(bytes)) await new Promise((drained) => to.once('drain', drained));
  }
}

/** Throws when stdin is destroyed under it, as it is at the end, or when the terminal is gone (EIO). */
async function feed(session: ClientSession): Promise<void> {
  for await (const bytes of process.stdin) if (!(await session.stdin.write(bytes))) return;
  session.eof();
}

/** Throws as `feed` does. What is typed; `~.` at the beginning of a line leaves a session that does not answer any more. */
async function type(session: ClientSession, terminal: boolean, leave: () => void): Promise<void> {
  const escapes = new EscapeReader();
  for await (const bytes of process.stdin as AsyncIterable<Buffer>) {
    const { pass, leaves } = terminal ? escapes.read(bytes) : { pass: bytes, leaves: false };
    if (leaves) {
      notice('\r\nLeft.');
      return leave();
    }
    if (pass.length > 0 && !(await session.stdin.write(pass))) return;
  }
  session.eof();
}
