import type { Readable, Writable } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import { encodeSpec } from './launch-spec.ts';
import { LauncherProcess } from './launcher-process.ts';
import { Pty } from './pty.ts';

/** What one session child is started with. Nothing in it is trusted: the launcher bounds and checks it again. */
export interface LaunchRequest {
  /** Path of the launcher binary. */
  readonly launcher: string;
  /** Unix login name, looked up by the launcher through NSS. */
  readonly login: string;
  /** Handed to `<login shell> -c`; undefined = interactive login shell (argv[0] with a dash). */
  readonly command: string | undefined;
  /** Instead of a shell: what connects and listens for the user, told what by `forwarding/relay.ts` over the pipes. */
  readonly relay?: boolean;
  /** Instead of a shell: an SFTP server for the user, on the pipes; `file-transfer/` is what follows it. */
  readonly sftp?: boolean;
  /**
   * Variables set before the account's own: what the node let through from the client, plus
   * SSH_CLIENT and SSH_CONNECTION. USER, LOGNAME, HOME, SHELL, PATH, MAIL, TERM, SSH_TTY and PAM's variables
   * are the launcher's and win over these.
   */
  readonly env: Readonly<Record<string, string>>;
  /** Absent = no terminal: the three streams are pipes. */
  readonly pty?: PtyRequest;
  /** Directory of the session's cgroup (`SessionCgroup.dir`); the leader is born inside it. */
  readonly cgroupDir: string | undefined;
  /** PAM service to open account and session with; undefined = no PAM, only the launcher's own checks. */
  readonly pamService: string | undefined;
  /** Variables of PAM modules, besides SSH_CONNECTION; as with all of theirs, they reach the session, too. */
  readonly pamEnvironment?: Readonly<Record<string, string>>;
  /** The account's own `~/.ssh/environment` counts (ssh_service.permit_user_env). */
  readonly userEnvironment?: boolean;
  /** Done first; what it rejects with is why there is no session. */
  readonly before?: () => Promise<void>;
  /** Address of the client: PAM_RHOST and utmp. */
  readonly remoteHost: string;
}

/** A `pty-req` of RFC 4254 §6.2. Sizes of 0 mean "unknown". */
export interface PtyRequest extends WindowSize {
  readonly term: string;
  /** Encoded terminal modes, RFC 4254 §8, as they came over the wire. */
  readonly modes: Buffer;
}

export interface WindowSize {
  readonly cols: number;
  readonly rows: number;
  readonly xpixel: number;
  readonly ypixel: number;
}

/** How the leader ended. `signal` has no "SIG" (the form of RFC 4254 §6.10). */
export type Exit = { readonly code: number } | { readonly signal: string; readonly coreDumped: boolean };

/** The three streams of a session without a terminal. All chunks are Buffers; not reading is backpressure. */
export interface SessionPipes {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
}

/** A session child: blocked before its exec until `go()`, then the user's shell, with the same pid throughout. */
export interface LaunchedSession {
  /** The process that becomes the shell; session leader, alone in the cgroup. */
  readonly leaderPid: number;
  /** The root parent of the leader; stays outside the session's cgroup, carries its audit session id. */
  readonly supervisorPid: number;
  /** undefined: the host has no audit, or a session id of its own could not be had. */
  readonly auditSessionId: number | undefined;
  readonly uid: number;
  readonly gid: number;
  /** Set when the request had `pty`. */
  readonly terminal: Pty | undefined;
  /** Set when the request had no `pty`. */
  readonly pipes: SessionPipes | undefined;
  /** What the operator should know of, though the session goes on (e.g. loginuid could not be set). */
  readonly warnings: readonly string[];
  /** Lets the leader exec. Resolves once it has; rejects with an AppError when it could not. */
  go(): Promise<void>;
  /** Resolves when the leader has ended; rejects with an AppError only when the launcher itself died. */
  readonly exited: Promise<Exit>;
  /** Resolves when the launcher is gone as well: PAM session closed, utmp written. Never rejects. */
  readonly closed: Promise<void>;
  /** TIOCSWINSZ, hence SIGWINCH; nothing happens without a terminal. */
  resize(size: WindowSize): void;
  /** A signal name of RFC 4254 §6.9 ("INT"), sent with the user's rights to the terminal's foreground group,
   * without a terminal to the leader's group. Unknown names answer false. */
  signal(name: string): boolean;
  /** The client is gone: the terminal hangs up (SIGHUP, SIGCONT to leader and foreground group). Without a
   * terminal nothing happens, as with sshd: destroy the pipes. */
  hangUp(): void;
  /** SIGKILL to the leader's process group. Background groups are the cgroup's business. */
  kill(): void;
}

/**
 * Starts the launcher; resolves when it reports the leader ready and blocked, rejects with an AppError when the
 * account is refused or the host fails. Nothing of the user's has run when it resolves; call `go()` or `kill()`.
 */
export async function launch(request: LaunchRequest): Promise<LaunchedSession> {
  const spec = encodeSpec(request);
  await request.before?.();
  const terminal = request.pty ? openTerminal() : undefined;
  const launcher = new LauncherProcess(request.launcher, spec, terminal);
  try {
    return await launcher.ready;
  } catch (error) {
    terminal?.close();
    throw error;
  }
}

function openTerminal(): Pty {
  try {
    return Pty.open();
  } catch (cause) {
    throw new AppError('unavailable', 'launch.terminal', 'The host has no free pseudo-terminal.', { cause });
  }
}
