import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants as osConstants } from 'node:os';
import type { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import { HostOutput } from './host-output.ts';
import type { Exit, LaunchedSession, SessionPipes, WindowSize } from './launch.ts';
import { sizeWords } from './launch-spec.ts';
import { type LauncherLine, parseLauncherLine } from './launcher-line.ts';
import type { Pty } from './pty.ts';

/** PAM may ask a directory server; past this the log-in has failed. */
const READY_DEADLINE_MS = 60_000;
/** Twice the launcher's longest line. */
const LINE_MAX = 8192;
const CONTROL_FD = 3;

type Ready = Extract<LauncherLine, { word: 'ready' }>;

/** Signals a client may send, RFC 4254 §6.9. */
const clientSignals: ReadonlySet<string> = new Set(
  'ABRT ALRM FPE HUP ILL INT KILL PIPE QUIT SEGV TERM USR1 USR2'.split(' '),
);

/** One running launcher: its control socket, and the promises that its lines settle. */
export class LauncherProcess {
  /** The session, ready and blocked. */
  readonly ready: Promise<LaunchedSession>;
  readonly #child: ChildProcess;
  readonly #control: Duplex;
  readonly #terminal: Pty | undefined;
  readonly #ready = Promise.withResolvers<LaunchedSession>();
  readonly #execed = Promise.withResolvers<void>();
  readonly #exited = Promise.withResolvers<Exit>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #warnings: string[] = [];
  readonly #deadline: NodeJS.Timeout;
  #line = '';

  constructor(binary: string, spec: Buffer, terminal: Pty | undefined) {
    this.#terminal = terminal;
    this.#child = spawn(binary, [], {
      argv0: 'launcher', // for ps: the path may be one of /proc
      cwd: '/',
      // PAM modules run in there: nothing of the daemon's environment is theirs but the time zone.
      env: process.env['TZ'] === undefined ? {} : { TZ: process.env['TZ'] },
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', ...(terminal ? [terminal.fd] : [])],
    });
    this.#control = this.#child.stdio[CONTROL_FD] as Duplex;
    this.ready = this.#ready.promise;
    // Each is awaited by whoever cares; a rejection nobody waits for must not end the daemon.
    for (const { promise } of [this.#ready, this.#execed, this.#exited]) promise.catch(() => {});
    this.#deadline = setTimeout(() => this.#abandon(), READY_DEADLINE_MS);
    this.#listen(spec);
  }

  #listen(spec: Buffer): void {
    this.#control.setEncoding('utf8');
    this.#control.on('data', (text: string) => this.#hear(text));
    // A launcher that died is told by 'close'; EPIPE and ECONNRESET say the same thing earlier.
    this.#control.on('error', () => {});
    this.#child.on('error', (cause) => this.#fail(cannotStart(cause)));
    // 'close', not 'exit': the last lines may still be in the socket when the process is reaped.
    this.#child.on('close', (code, signal) => this.#end(signal ?? `status ${code}`));
    this.#control.write(spec);
  }

  #hear(text: string): void {
    const lines = (this.#line + text).split('\n');
    this.#line = lines.pop() ?? '';
    if (this.#line.length > LINE_MAX) this.#line = '';
    for (const line of lines) this.#obey(line);
  }

  #obey(line: string): void {
    try {
      this.#take(parseLauncherLine(line));
    } catch (error) {
      this.#fail(AppError.from(error));
      this.#control.destroy(); // before "go" this ends the leader, afterwards it hangs the terminal up
    }
  }

  #take(line: LauncherLine): void {
    switch (line.word) {
      case 'warn':
        this.#warnings.push(line.text);
        break;
      case 'error':
        this.#fail(line.error);
        break;
      case 'ready':
        this.#ready.resolve(this.#session(line));
        break;
      case 'exec':
        this.#execed.resolve();
        break;
      case 'exit':
        this.#exited.resolve({ code: line.code });
        break;
      case 'signal':
        this.#exited.resolve({ signal: line.signal, coreDumped: line.coreDumped });
    }
  }

  #fail(error: AppError): void {
    this.#ready.reject(error);
    this.#execed.reject(error);
    this.#exited.reject(error);
  }

  #end(how: string): void {
    clearTimeout(this.#deadline);
    this.#execed.reject(
      new AppError('unavailable', 'launch.ended_early', 'The session ended before its start.'),
    );
    const cause = new Error(`the launcher ended by ${how} without a word`);
    this.#fail(new AppError('internal', 'launch.died', 'The launcher died.', { cause }));
    this.#closed.resolve();
  }

  #abandon(): void {
    this.#fail(new AppError('unavailable', 'launch.timeout', 'The log-in took too long on this host.'));
    this.#child.kill('SIGKILL');
  }

  #session(ready: Ready): LaunchedSession {
    clearTimeout(this.#deadline);
    this.#terminal?.attach();
    const { leaderPid, supervisorPid, auditSessionId, uid, gid } = ready;
    return {
      ...{ leaderPid, supervisorPid, auditSessionId, uid, gid },
      terminal: this.#terminal,
      pipes: this.#terminal ? undefined : openPipes(ready),
      warnings: this.#warnings,
      exited: this.#exited.promise,
      closed: this.#closed.promise,
      go: () => this.#go(),
      resize: (size) => this.#resize(size),
      signal: (name) => this.#signal(name),
      hangUp: () => this.#hangUp(),
      kill: () => this.#say('kill'),
    };
  }

  #go(): Promise<void> {
    this.#say('go');
    return this.#execed.promise;
  }

  #resize(size: WindowSize): void {
    this.#say(`resize ${sizeWords(size)}`);
  }

  #signal(name: string): boolean {
    const number = osConstants.signals[`SIG${name}` as NodeJS.Signals];
    if (!clientSignals.has(name) || number === undefined) return false;
    this.#say(`signal ${number}`);
    return true;
  }

  #hangUp(): void {
    this.#terminal?.close();
    this.#say('hangup');
  }

  #say(line: string): void {
    if (this.#control.writable) this.#control.write(`${line}\n`);
  }
}

function cannotStart(cause: Error): AppError {
  return new AppError('unavailable', 'launch.binary', 'The launcher cannot be started.', {
    hint: 'Build it with `make`, and run the ssh service as root.',
    cause,
  });
}

/**
 * Real pipes, made by the launcher and opened here through /proc: Node would hand down sockets, and a command's
 * `> /dev/stderr` fails on a socket. Each open is a new file description, so that O_NONBLOCK stays ours.
 */
function openPipes({ supervisorPid, streams }: Ready): SessionPipes {
  const opened: number[] = [];
  const open = (fd: number, flags: number): number => {
    const mine = openSync(`/proc/${supervisorPid}/fd/${fd}`, flags | constants.O_NONBLOCK);
    opened.push(mine);
    return mine;
  };
  try {
    const [stdin, stdout, stderr] = streams;
    const input = open(stdin, constants.O_WRONLY);
    const outputs = [stdout, stderr].map((fd) => open(fd, constants.O_RDONLY)) as [number, number];
    return {
      stdin: writer(input),
      stdout: HostOutput.ofPipe(outputs[0]),
      stderr: HostOutput.ofPipe(outputs[1]),
    };
  } catch (cause) {
    for (const fd of opened) closeSync(fd);
    throw new AppError('unavailable', 'launch.streams', 'The streams of the session cannot be opened.', {
      cause,
    });
  }
}

/** A command that never reads its input ends with EPIPE here; that is its right, not an error. */
function writer(fd: number): Socket {
  return new Socket({ fd, readable: false, writable: true }).on('error', () => {});
}
