// The SSH node: who may come in, and a session for each channel that asks for one. Certificates only: a plain
// key is refused before its signature is looked at.
import type { Duplex } from 'node:stream';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { EventStamp } from '../audit/session-emitter.ts';
import type { LossPolicy, RecordedKind, RecordSession } from '../ca/identity.ts';
import { type Identity, permitExtensions } from '../ca/identity.ts';
import {
  type Address,
  type AuthAttempt,
  type AuthDecision,
  type ConnectionSource,
  type HostKey,
  type Refusal,
  type SshConnection,
  type SshLimits,
  type SshServer,
  startSshServer,
} from '../ssh-transport/server.ts';
import { Session } from './session.ts';
import { connectionBlock, type SessionFacts, serverBlock, userBlock } from './session-facts.ts';
import { ChannelRequests, type SessionDoor } from './session-handler.ts';
import type { SessionHost } from './session-host.ts';
import type { SessionRegistry } from './session-registry.ts';

/** What the access decision grants: the certificate's word narrowed by what the roles say now. */
export interface Grant {
  readonly kinds: readonly RecordedKind[];
  readonly lossPolicy: LossPolicy;
  readonly recordSession: RecordSession;
}

/** An authenticated user, and what they may do here. */
export interface Visitor {
  readonly identity: Identity;
  readonly grant: Grant;
}

export type Verdict<T> =
  | { readonly ok: true; readonly value: T }
  /** `claimedUser`: what an untrusted certificate says. */
  | { readonly ok: false; readonly reason: string; readonly claimedUser?: string | undefined };

export interface SshNodeOptions {
  /** Absent: nothing listens; connections come through a proxy's tunnel, by `handle`. */
  readonly listen?: Address | undefined;
  readonly hostKeys: readonly HostKey[];
  readonly limits?: Partial<SshLimits>;
  readonly host: SessionHost;
  readonly registry: SessionRegistry;
  /** For events outside any session. */
  readonly stamp: EventStamp;
  readonly recordingMode: SessionFacts['recordingMode'];
  /** Verifies the certificate and asks the access decision. Whoever calls it has proven its private key. */
  readonly admit: (attempt: AuthAttempt) => Promise<Verdict<Visitor>>;
}

export interface SshNode {
  readonly address: Address;
  readonly connections: number;
  /** A stream somebody opened elsewhere (a tunnel), and whose it is: as if it had been accepted here. */
  handle(stream: Duplex, source: ConnectionSource): void;
  /** For the connections that come from now on. */
  setHostKeys(hostKeys: readonly HostKey[]): void;
  /** Accepts nobody any more; the living stay. */
  stopListening(): void;
  /** Ends every connection. */
  close(reason: string): Promise<void>;
}

export async function startSshNode(options: SshNodeOptions): Promise<SshNode> {
  const { host } = options;
  const server: SshServer = await startSshServer<Visitor>({
    ...(options.listen === undefined ? {} : { listen: options.listen }),
    hostKeys: options.hostKeys,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    accepts: (query) => query.algorithm.endsWith('-cert-v01@openssh.com'),
    authenticate: (attempt) => authenticate(options, attempt),
    onConnection: (connection) => {
      host.log.info(
        { user: connection.identity.identity.user, login: connection.login, remote: text(connection.remote) },
        'a user connected',
      );
      return { session: ({ channel }) => new ChannelRequests(door(options, connection), channel) };
    },
    onRefused: (refusal) => refused(options, refusal),
    log: host.log,
  });
  return {
    address: server.address,
    get connections() {
      return server.stats.connections;
    },
    handle: (stream, source) => server.handle(stream, source),
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

function refused(options: SshNodeOptions, refusal: Refusal): void {
  const { host, stamp } = options;
  const remote = text(refusal.remote);
  host.log.info(
    { kind: refusal.kind, remote, login: refusal.login, reason: refusal.reason },
    'a log-in was refused',
  );
  if (!audited.has(refusal.kind) || refusal.login === undefined) return;
  void host.emitLate(stamp, {
    event: 'auth',
    code: 'T3007W',
    login: refusal.login,
    ...serverBlock(host.node),
    ...connectionBlock(text(refusal.local), remote),
    success: false,
    error: refusal.reason,
  });
}

function door(options: SshNodeOptions, connection: SshConnection<Visitor>): SessionDoor {
  const { identity } = connection.identity;
  const { host, stamp } = options;
  return {
    permitsPty: identity.extensions.has(permitExtensions.pty),
    open: ({ sid, command, pty, env, channel }) => {
      const admission = options.registry.admits(identity.user);
      if (!admission.ok) {
        reject(options, connection, admission);
        return undefined;
      }
      const facts = sessionFacts(options, connection, { sid, command, terminal: pty });
      const session = new Session(host, { facts, channel, pty, env, remoteHost: connection.remote.host });
      options.registry.add(session);
      void session.run().finally(() => options.registry.remove(sid));
      return session;
    },
    subsystemRefused: (name) => {
      const draft: EventDraft = {
        event: 'subsystem',
        code: 'T3001E',
        ...visitorBlock(connection),
        ...connectionBlock(text(connection.local), text(connection.remote)),
        ...serverBlock(host.node),
        name,
        exitError: 'subsystem is not available on this node',
      };
      void host.emitLate(stamp, draft);
    },
  };
}

function sessionFacts(
  options: SshNodeOptions,
  connection: SshConnection<Visitor>,
  asked: { sid: string; command: string | undefined; terminal: { cols: number; rows: number } | undefined },
): SessionFacts {
  const { identity, grant } = connection.identity;
  return {
    sid: asked.sid,
    user: identity.user,
    login: connection.login,
    roles: identity.roles,
    traits: identity.traits,
    node: options.host.node,
    localAddr: text(connection.local),
    remoteAddr: text(connection.remote),
    started: new Date().toISOString(),
    command: asked.command,
    terminal: asked.terminal && { cols: asked.terminal.cols, rows: asked.terminal.rows },
    recordingMode: options.recordingMode,
    enhanced: options.host.kernel !== undefined,
    ...grant,
  };
}

function reject(
  options: SshNodeOptions,
  connection: SshConnection<Visitor>,
  admission: { reason: string; maximum: number },
): void {
  void options.host.emitLate(options.stamp, {
    event: 'session.rejected',
    code: 'T1006W',
    ...visitorBlock(connection),
    ...serverBlock(options.host.node),
    ...connectionBlock(text(connection.local), text(connection.remote)),
    reason: admission.reason,
    maximum: admission.maximum,
  });
}

function visitorBlock(connection: SshConnection<Visitor>) {
  const { user, roles, traits } = connection.identity.identity;
  return userBlock({ user, roles, traits, login: connection.login });
}

function text({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
