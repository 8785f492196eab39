// The SSH node: who may come in, and a session for each channel that asks for one. Certificates only: a plain
// key is refused before its signature is looked at.
import type { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import {
  type Address,
  type AuthAttempt,
  type AuthDecision,
  type Bind,
  type ConnectionSource,
  type HostKey,
  type Refusal,
  type RelayVerdict,
  type SshLimits,
  type SshServer,
  startSshServer,
} from '../ssh-transport/server.ts';
import { addressText } from './forwarding/forwarding.ts';
import type { Visitor } from './grant.ts';
import { type ConnectionHost, LiveConnection, type LiveUser } from './live-connection.ts';
import { connectionBlock, serverBlock } from './session-facts.ts';

export type Verdict<T> =
  | { readonly ok: true; readonly value: T }
  /** `claimedUser`: what an untrusted certificate says. */
  | { readonly ok: false; readonly reason: string; readonly claimedUser?: string | undefined };

export interface SshNodeOptions extends ConnectionHost {
  /** Absent: nothing listens; connections come through a proxy's tunnel, by `handle`. */
  readonly listen?: Address | undefined;
  readonly bind?: Bind | undefined;
  readonly hostKeys: readonly HostKey[];
  readonly limits?: Partial<SshLimits>;
  /** Verifies the certificate and asks the access decision. Whoever calls it has proven its private key. */
  readonly admit: (attempt: AuthAttempt) => Promise<Verdict<Visitor>>;
  /** Whose connection a proxy hands over, by its word (relay-line.ts). Absent: no such word is known. */
  readonly relayed?: ((line: string) => Promise<RelayVerdict>) | undefined;
}

export interface SshNode {
  readonly address: Address;
  readonly connections: number;
  /** A stream somebody opened elsewhere (a tunnel), and whose it is: as if it had been accepted here. */
  handle(stream: Duplex, source: ConnectionSource): void;
  /** For the connections that come from now on. */
  setHostKeys(hostKeys: readonly HostKey[]): void;
  /**
   * For every change of locks: ends each live connection and each session left behind that `isLocked` gives a reason
   * for. The user is told the reason, what runs is killed; within a second. Tells how many connections.
   */
  endLocked(isLocked: (user: LiveUser) => string | undefined): number;
  /** What `policy` says is different now: the living are held to it, too. */
  policyChanged(): void;
  /** Accepts nobody any more; the living stay. */
  stopListening(): void;
  /** Ends every connection. */
  close(reason: string): Promise<void>;
}

export async function startSshNode(options: SshNodeOptions): Promise<SshNode> {
  const { host } = options;
  const live = new Set<LiveConnection>();
  const server: SshServer = await startSshServer<Visitor>({
    ...(options.listen === undefined ? {} : { listen: options.listen }),
    bind: options.bind,
    hostKeys: options.hostKeys,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    accepts: (query) => query.algorithm.endsWith('-cert-v01@openssh.com'),
    authenticate: (attempt) => authenticate(options, attempt),
    onConnection: (connection) => {
      host.log.info(
        {
          user: connection.identity.identity.user,
          login: connection.login,
          remote: addressText(connection.remote),
        },
        'a user connected',
      );
      const user = new LiveConnection(options, connection);
      live.add(user);
      void connection.closed.then(() => live.delete(user));
      return user.handler;
    },
    ...(options.relayed === undefined ? {} : { relayed: options.relayed }),
    onRefused: (refusal) => refused(options, refusal),
    log: host.log,
  });
  return {
    address: server.address,
    get connections() {
      return server.stats.connections;
    },
    handle: (stream, source) => server.handle(stream, source),
    endLocked: (isLocked) => endLocked(options, live, isLocked),
    policyChanged: () => {
      for (const connection of live) connection.policyChanged();
      options.registry.recheckParties();
    },
    setHostKeys: (hostKeys) => server.setHostKeys(hostKeys),
    stopListening: () => void server.listener.close(),
    close: (reason) => server.close(reason),
  };
}

async function authenticate(options: SshNodeOptions, attempt: AuthAttempt): Promise<AuthDecision<Visitor>> {
  const verdict = await options.admit(attempt);
  if (verdict.ok) return { ok: true, identity: verdict.value };
  // The claimed user is untrusted text; it helps whoever reads the log and proves nothing.
  const claimed = verdict.claimedUser === undefined ? '' : ` (the certificate says ${verdict.claimedUser})`;
  return { ok: false, reason: `${verdict.reason}${claimed}` };
}

/** Only log-ins are audited: a port scanner that never names anybody is the service log's business. */
const audited = new Set<Refusal['kind']>(['denied', 'bad-signature', 'max-auth-tries', 'no-credentials']);

/** Somebody posed as a proxy, or a proxy's clock is wrong: nobody stumbles into that. */
const isAudited = ({ kind, login }: Refusal) =>
  kind === 'relay' || (audited.has(kind) && login !== undefined);

function refused(options: SshNodeOptions, refusal: Refusal): void {
  const { host, stamp } = options;
  const remote = addressText(refusal.remote);
  host.log.info(
    { kind: refusal.kind, remote, login: refusal.login, reason: refusal.reason },
    'a log-in was refused',
  );
  if (!isAudited(refusal)) return;
  void host.emitLate(stamp, {
    event: 'auth',
    code: 'T3007W',
    ...(refusal.login === undefined ? {} : { login: refusal.login }),
    ...serverBlock(host.node),
    ...connectionBlock(addressText(refusal.local), remote),
    success: false,
    error: refusal.reason,
  });
}

function endLocked(
  { registry }: SshNodeOptions,
  live: ReadonlySet<LiveConnection>,
  isLocked: (user: LiveUser) => string | undefined,
): number {
  let ended = 0;
  for (const connection of live) {
    const reason = isLocked(connection.user);
    if (reason === undefined) continue;
    connection.disconnect(locked(reason));
    ended += 1;
  }
  registry.endWhere(({ user, roles, login }) => {
    const reason = isLocked({ user, roles, login, identity: undefined });
    return reason === undefined ? undefined : locked(reason);
  });
  return ended;
}

function locked(reason: string): AppError {
  return new AppError('denied', 'session.locked', reason);
}
