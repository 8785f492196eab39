// The daemon after us, as we see it: started from the program on disk now, handed what it asks for, and waited for until
// it serves. One that does not come up changes nothing: we go on.
import { type ChildProcess, spawn } from 'node:child_process';
import { isAbsolute, resolve } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type HeirMessage, heirVariable } from './messages.ts';
import type { Sockets } from './sockets.ts';

export interface HeirOptions {
  readonly sockets: Pick<Sockets, 'get'>;
  /** Resolves when our auth service holds nothing any more. */
  readonly yieldAuth: () => Promise<void>;
  /** From its start to its readiness, ms. */
  readonly deadlineMs: number;
  /** Gives it up. */
  readonly signal: AbortSignal;
}

export interface Heir {
  readonly pid: number;
  /** Resolves with how it ended. */
  readonly ended: Promise<string>;
  kill(): void;
}

/** Resolves when it serves. Rejects with why it does not; then it is gone. */
export async function startHeir(options: HeirOptions): Promise<Heir> {
  const [program, ...args] = programOf(process);
  const child = spawn(program, args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // A session of its own: what ends our group must not end it.
    detached: true,
    env: { ...process.env, [heirVariable]: '1' },
  });
  child.unref();
  const ended = new Promise<string>((resolveEnd) => {
    child.once('error', ({ message }) => resolveEnd(message));
    child.once('exit', (code, signal) => resolveEnd(signal ?? `status ${code}`));
  });
  try {
    await readiness(child, ended, options);
    // Nothing more is handed down, and the channel would keep us alive.
    if (child.connected) child.disconnect();
  } catch (error) {
    child.kill('SIGKILL');
    await ended;
    throw error;
  }
  return { pid: child.pid ?? 0, ended, kill: () => void child.kill('SIGTERM') };
}

function readiness(child: ChildProcess, ended: Promise<string>, options: HeirOptions): Promise<void> {
  const { promise, resolve: ready, reject } = Promise.withResolvers<void>();
  const { deadlineMs, signal } = options;
  const onAbort = () => reject(notReady('we are told to stop'));
  signal.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => reject(notReady(`it was not ready within ${deadlineMs} ms`)), deadlineMs);
  child.on('message', (message: HeirMessage) => {
    if ('ask' in message) return void answer(child, message, options);
    if (message.tell === 'ready') ready();
    else reject(notReady(message.message));
  });
  void ended.then((how) => reject(notReady(`it ended with ${how}`)));
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  });
}

async function answer(
  child: ChildProcess,
  question: Extract<HeirMessage, { ask: string }>,
  { sockets, yieldAuth }: HeirOptions,
): Promise<void> {
  const { id: number } = question;
  // One that died cannot be told, which is heard elsewhere.
  const send = (handle?: ReturnType<Sockets['get']>) =>
    void (child.connected && child.send({ answer: number }, handle, {}, () => {}));
  if (question.ask === 'socket') return send(sockets.get(question.key));
  // What is newer than we are gets an empty answer.
  if (question.ask === 'yield-auth') await yieldAuth();
  send();
}

/**
 * As we were called, so that a package that moved leads to the new one: bin/teleport tells its own name. Without it
 * (a development checkout) the same Node and the same file.
 */
export function programOf({
  env,
  execPath,
  execArgv,
  argv,
}: Pick<NodeJS.Process, 'env' | 'execPath' | 'execArgv' | 'argv'>): [string, ...string[]] {
  const [, main = '', ...args] = argv;
  const own = env['SALLYPORT_PROGRAM'];
  return own === undefined ? [execPath, ...execArgv, main, ...args] : [own, ...args];
}

/** Before anything changes the working directory. */
export function fixProgram(): void {
  const own = process.env['SALLYPORT_PROGRAM'];
  if (own !== undefined && !isAbsolute(own)) process.env['SALLYPORT_PROGRAM'] = resolve(own);
}

function notReady(why: string): AppError {
  return new AppError('unavailable', 'reload.not_ready', `The new daemon does not serve: ${why}`);
}
