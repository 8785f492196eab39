// `tsh ssh`: a shell or a command on a node. Exit code: the command's own; 255 when there was no session to have one.
import { AppError, describeError } from '@sallyport/contracts/errors.ts';
import type { ClientSession, ExitStatus } from '../../ssh-transport/ssh-client.ts';
import { notice, styled } from '../output.ts';
import { agentConnection } from './agent-connection.ts';
import { connectNode, type NodeLink, nodeAddress } from './connect-node.ts';
import { startForwards } from './forwards.ts';
import { type Profile, requireProfile } from './profile.ts';
import { runBatch, runInteractive } from './session-io.ts';

export interface SshFlags {
  readonly proxy?: string;
  readonly login?: string;
  readonly port?: number;
  readonly local: readonly string[];
  readonly remote: readonly string[];
  readonly dynamic: readonly string[];
  readonly forwardAgent: boolean;
  readonly tty: boolean | undefined;
  /** -N: forwards only. */
  readonly command: boolean;
}

/** OpenSSH's own for "no session". */
const noSession = 255;
/** POSIX shells' for "ended by signal N". */
const signalBase = 128;

export async function sshAction(target: string, words: readonly string[], flags: SshFlags): Promise<void> {
  const profile = await requireProfile(flags.proxy);
  const at = target.lastIndexOf('@');
  const login = flags.login ?? (at > 0 ? target.slice(0, at) : defaultLogin(profile));
  const node = nodeAddress(target.slice(at + 1), flags.port);
  try {
    const agent = flags.forwardAgent ? agentConnection() : undefined;
    if (flags.forwardAgent && agent === undefined)
      notice(
        'WARNING: there is no agent to forward: SSH_AUTH_SOCK is not set. Start one: eval "$(ssh-agent)".',
      );
    const link = await connectNode(profile, node, login, agent === undefined ? {} : { agent });
    try {
      process.exitCode = await useLink(link, words, { ...flags, forwardAgent: agent !== undefined });
    } finally {
      link.close();
    }
  } catch (error) {
    const appError = AppError.from(error);
    notice(
      `${styled('red', 'ERROR:', process.stderr)} ${describeError(explain(appError, login, node.host))}`,
    );
    if (process.env['DEBUG'] !== undefined) console.error(error);
    process.exitCode = noSession;
  }
}

export function defaultLogin({ logins }: Profile): string {
  const [first] = logins;
  if (first !== undefined) return first;
  throw new AppError('denied', 'tsh.no_login', 'Your roles grant no login on any host.', {
    hint: 'Ask an administrator: `tctl users update NAME --set-logins=…`.',
  });
}

/** The transport knows only that the server said no; here it is known to whom and as whom. */
export function explain(error: AppError, login: string, host: string): AppError {
  if (error.code !== 'ssh.login_refused') return error;
  return new AppError('denied', error.code, `${host} refused the login "${login}".`, {
    cause: error,
    hint: '`tsh status` shows your logins, `tsh ls` the nodes your roles allow. A lock or a role may stand against it.',
  });
}

async function useLink({ client }: NodeLink, words: readonly string[], flags: SshFlags): Promise<number> {
  const forwards = await startForwards(client, flags);
  try {
    if (!flags.command) {
      notice('Forwarding; press Ctrl-C to end.');
      await Promise.race([client.closed, interrupted()]);
      return 0;
    }
    const session = await client.openSession();
    await sendLocale(session);
    if (flags.forwardAgent && !(await session.forwardAgent())) {
      notice(
        'WARNING: the node does not forward the agent: no role of yours has the option `forward_agent`.',
      );
    }
    const wantsTerminal = flags.tty ?? (words.length === 0 && process.stdin.isTTY === true);
    const command = words.length === 0 ? undefined : words.join(' ');
    const status = wantsTerminal ? await runInteractive(session, command) : await runBatch(session, command);
    // A connection that is only silent would keep us waiting for its end.
    if (status === 'left') return noSession;
    if (status === undefined) notice(`The connection to the node ended: ${await client.closed}`);
    return exitCodeOf(status);
  } finally {
    await forwards.close();
  }
}

async function interrupted(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  process.once('SIGINT', () => resolve());
  process.once('SIGTERM', () => resolve());
  await promise;
}

/** As Debian's ssh is configured: language and character set, nothing else of the environment. */
async function sendLocale(session: ClientSession): Promise<void> {
  const names = Object.keys(process.env).filter((name) => name === 'LANG' || name.startsWith('LC_'));
  await Promise.all(names.map((name) => session.env(name, process.env[name] ?? '')));
}

const signalNumbers: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  ILL: 4,
  ABRT: 6,
  FPE: 8,
  KILL: 9,
  USR1: 10,
  SEGV: 11,
  USR2: 12,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
};

export function exitCodeOf(status: ExitStatus | undefined): number {
  if (status === undefined) return noSession;
  if ('code' in status) return status.code;
  return signalBase + (signalNumbers[status.signal] ?? 127);
}
