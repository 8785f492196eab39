// One connection of an authenticated user: its sessions, what it forwards, and how it ends when it must.
import { randomUUID } from 'node:crypto';
import type { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { EventStamp } from '../audit/session-emitter.ts';
import type { Identity } from '../ca/identity.ts';
import { permitExtensions } from '../ca/identity.ts';
import type { SessionChannel } from '../ssh-transport/session-channel.ts';
import type { ConnectionHandler, SshConnection } from '../ssh-transport/ssh-server.ts';
import { ConnectionClock } from './connection-clock.ts';
import { disallowed, transferOf } from './file-transfer/transfer-request.ts';
import { ForwardSession } from './forwarding/forward-session.ts';
import { addressText, type DisplayEvent, Forwarding, type ForwardingEvent } from './forwarding/forwarding.ts';
import {
  type ConnectionLimits,
  connectionLimits,
  type NodePolicy,
  refusesAgent,
  refusesCopies,
  refusesPorts,
  refusesUnattended,
  refusesX11,
  type Visitor,
} from './grant.ts';
import { Session } from './session.ts';
import { connectionBlock, type SessionFacts, serverBlock, userBlock } from './session-facts.ts';
import { ChannelRequests, type SessionDoor, type SessionOpening } from './session-handler.ts';
import type { SessionHost } from './session-host.ts';
import type { Admission, SessionRegistry } from './session-registry.ts';
import type { JoinWish } from './sharing/join-wish.ts';
import { type Joiner, Joining } from './sharing/joining.ts';
import { HandingOn, type Neighbours } from './sharing/next-door.ts';
import { noSharing, type SessionSharing } from './sharing/sharing.ts';

export interface ConnectionHost {
  readonly host: SessionHost;
  readonly registry: SessionRegistry;
  /** For events outside any session. */
  readonly stamp: EventStamp;
  /** Asked for each session. */
  readonly recordingMode: () => SessionFacts['recordingMode'];
  /** Asked for each connection, and by `policyChanged`. */
  readonly policy: () => NodePolicy;
  /** Absent: nobody joins anybody's session. */
  readonly sharing?: SessionSharing | undefined;
  /** The other daemons of this host, whose sessions can be joined, too. Absent: there are none. */
  readonly neighbours?: Neighbours | undefined;
}

/** Whoever is connected, as a lock looks at them. */
export interface LiveUser {
  readonly user: string;
  readonly roles: readonly string[];
  readonly login: string;
  /** undefined: a session that a daemon before us opened; its certificate is not known any more. */
  readonly identity: Identity | undefined;
}

/** How long the last words have to reach the client, ms. */
const farewellMs = 400;

export class LiveConnection {
  readonly #host: ConnectionHost;
  readonly #connection: SshConnection<Visitor>;
  readonly #forwarding: Forwarding;
  #clock: ConnectionClock;
  #limits: ConnectionLimits;
  readonly #sessions = new Set<Session>();
  readonly #joined = new Set<Joiner>();
  /** Activity of sessions that are over, so that the sum never falls. */
  #past = 0;
  #ended: AppError | undefined;
  #over = false;

  constructor(host: ConnectionHost, connection: SshConnection<Visitor>) {
    this.#host = host;
    this.#connection = connection;
    const visitor = connection.identity;
    this.#forwarding = new Forwarding({
      refusesPorts: refusesPorts(visitor, host.policy()),
      refusesAgent: refusesAgent(visitor),
      refusesX11: refusesX11(visitor, host.policy()),
      firstDisplay: host.policy().x11.firstDisplay,
      startSession: () => this.#forwardSession(),
      port: (event) => this.#audit((blocks) => portEvent(blocks, event)),
      agent: (error) => this.#audit((blocks) => agentEvent(blocks, error)),
      display: (event) => this.#audit((blocks) => displayEvent(blocks, event)),
    });
    this.#limits = connectionLimits(visitor, host.policy());
    this.#clock = this.#startClock();
    void connection.closed.then(() => this.#closed());
  }

  get handler(): ConnectionHandler {
    return {
      session: ({ channel }) => new ChannelRequests(this.#door(), channel),
      ...this.#forwarding.handler,
    };
  }

  get user(): LiveUser {
    const { identity } = this.#connection.identity;
    return { user: identity.user, roles: identity.roles, login: this.#connection.login, identity };
  }

  /** The user is told on every terminal, what runs is killed, the connection closes. Audited. */
  disconnect(reason: AppError): void {
    if (this.#ended) return;
    this.#ended = reason;
    const { message } = reason;
    this.#audit((blocks) => ({ event: 'client.disconnect', code: 'T3006I', ...blocks, reason: message }));
    for (const session of this.#sessions) session.end(reason);
    for (const joiner of this.#joined) joiner.end(message);
    this.#forwarding.close();
    const timer = setTimeout(() => this.#connection.close(reason.message), farewellMs);
    void this.#connection.closed.then(() => clearTimeout(timer));
  }

  /** Idleness counts from now where its limit is another one. */
  policyChanged(): void {
    const limits = connectionLimits(this.#connection.identity, this.#host.policy());
    const { idleMs, until } = this.#limits;
    const same = limits.idleMs === idleMs && limits.until?.getTime() === until?.getTime();
    if (same || this.#over || this.#ended) return;
    this.#limits = limits;
    this.#clock.stop();
    this.#clock = this.#startClock();
  }

  #startClock(): ConnectionClock {
    return new ConnectionClock({
      limits: this.#limits,
      activity: () => this.#activity(),
      due: (reason) => this.disconnect(reason),
    });
  }

  #closed(): void {
    this.#over = true;
    this.#clock.stop();
    this.#forwarding.close();
  }

  #activity(): number {
    let sum = this.#past + this.#forwarding.bytes + this.#connection.channels;
    for (const { activity } of [...this.#sessions, ...this.#joined]) sum += activity;
    return sum;
  }

  #door(): SessionDoor {
    const { identity } = this.#connection.identity;
    return {
      permitsPty: identity.extensions.has(permitExtensions.pty),
      open: (opening) => this.#open(opening),
      join: (wish, channel) => this.#join(wish, channel),
      lendAgent: (open) => this.#forwarding.lendAgent(open),
      lendDisplay: (request, open) => this.#forwarding.lendDisplay(request, open),
      subsystemRefused: (name) => {
        const exitError = 'subsystem is not available on this node';
        this.#audit((blocks) => ({ event: 'subsystem', code: 'T3001E', ...blocks, name, exitError }));
      },
    };
  }

  #open(opening: SessionOpening): Session | undefined {
    const { sid, command, subsystem, pty, env, channel } = opening;
    const { registry, host, sharing = noSharing } = this.#host;
    const { moderation } = this.#connection.identity;
    if (this.#ended || !this.#mayCopy(opening)) return undefined;
    const admission = this.#admits(pty !== undefined);
    if (!admission.ok) {
      this.#rejected(admission);
      turnAway(channel, admission.reason);
      return undefined;
    }
    const { remote } = this.#connection;
    const terminal = pty && { cols: pty.cols, rows: pty.rows };
    const attended = moderation === undefined ? {} : { attended: true };
    const facts = this.#facts({ sid, command, terminal, purpose: subsystem, ...attended });
    if (subsystem !== undefined)
      this.#audit((blocks) => ({ event: 'subsystem', code: 'T3001I', ...blocks, name: subsystem }));
    const shared = { sharing, moderation, changed: () => registry.changed(sid) };
    const session = new Session(host, {
      ...{ facts, channel, pty, env, remoteHost: remote.host },
      transfer: transferOf(opening),
      ...shared,
    });
    registry.add(session);
    this.#sessions.add(session);
    void session.run().finally(() => {
      registry.remove(sid);
      this.#sessions.delete(session);
      this.#past += session.activity;
    });
    return session;
  }

  /** False: it was a copy, which is not allowed; the client has been told. */
  #mayCopy(opening: SessionOpening): boolean {
    const reason = refusesCopies(this.#connection.identity, this.#host.policy());
    const refusal = reason === undefined ? undefined : disallowed(opening, reason);
    if (reason === undefined || refusal === undefined) return true;
    this.#audit((blocks) => ({ ...refusal, ...blocks }));
    turnAway(opening.channel, `Files are not copied here: ${reason}.`);
    return false;
  }

  #admits(terminal: boolean): Admission {
    const { identity, grant, joinsOnly } = this.#connection.identity;
    const unattended = refusesUnattended(this.#connection.identity);
    // With a terminal somebody can come and see; without one nobody could.
    if (unattended !== undefined && (joinsOnly || !terminal)) {
      return { ok: false, reason: `Refused: ${unattended}. With a terminal (tsh ssh -t) they can.` };
    }
    return this.#host.registry.admits(identity.user, grant.maxSessions);
  }

  #join(wish: JoinWish, channel: SessionChannel): Joiner {
    const { identity, local, remote } = this.#connection;
    const { user, roles, traits } = identity.identity;
    const party = this.#ended ? undefined : this.#host.registry.partyOf(wish.sid);
    const { neighbours } = this.#host;
    const order = {
      who: { user, roles, traits, localAddr: addressText(local), remoteAddr: addressText(remote) },
      wish,
      channel,
      ping: () => this.#connection.ping(),
      until: identity.identity.validBefore,
      refused: (reason: string) => this.#notJoined(wish, reason),
    };
    const joining: Joiner =
      party === undefined && neighbours !== undefined && !this.#ended
        ? new HandingOn({ ...order, neighbours })
        : new Joining({ ...order, party });
    this.#joined.add(joining);
    return {
      get activity() {
        return joining.activity;
      },
      end: (reason) => joining.end(reason),
      channelClosed: () => {
        joining.channelClosed();
        this.#joined.delete(joining);
        this.#past += joining.activity;
      },
    };
  }

  #notJoined({ sid, mode }: JoinWish, why: string): void {
    const reason = `may not join as ${mode ?? 'whatever'}: ${why}`;
    const known = this.#host.registry.partyOf(sid) === undefined ? {} : { sid };
    this.#audit((blocks) => ({ event: 'session.rejected', code: 'T1006W', ...blocks, ...known, reason }));
  }

  /** What is forwarded is no terminal: nothing of it is recorded but what the kernel saw. */
  #forwardSession(): ForwardSession {
    const { registry, host } = this.#host;
    const facts = this.#facts({ sid: randomUUID(), purpose: 'forwarding', recordingMode: 'off' });
    const session = new ForwardSession(host, facts, this.#connection.remote.host);
    registry.add(session);
    void session.over.then(() => registry.remove(facts.sid));
    return session;
  }

  #facts(of: Pick<SessionFacts, 'sid'> & Partial<SessionFacts>): SessionFacts {
    const { identity, grant, mfaDevice } = this.#connection.identity;
    const { host, recordingMode } = this.#host;
    return {
      user: identity.user,
      login: this.#connection.login,
      roles: identity.roles,
      traits: identity.traits,
      node: host.node,
      localAddr: addressText(this.#connection.local),
      remoteAddr: addressText(this.#connection.remote),
      started: new Date().toISOString(),
      recordingMode: recordingMode(),
      enhanced: host.kernel !== undefined,
      kinds: grant.kinds,
      lossPolicy: grant.lossPolicy,
      recordSession: grant.recordSession,
      ...(grant.hostUser === undefined ? {} : { hostUser: grant.hostUser }),
      mfaDevice,
      ...of,
    };
  }

  #rejected({ reason, maximum }: Extract<Admission, { ok: false }>): void {
    const limit = maximum === undefined ? {} : { maximum };
    this.#audit((blocks) => ({ event: 'session.rejected', code: 'T1006W', ...blocks, reason, ...limit }));
  }

  #audit(draft: (blocks: ConnectionBlocks) => EventDraft): void {
    const { host, stamp } = this.#host;
    const { user, roles, traits } = this.#connection.identity.identity;
    const { login, local, remote } = this.#connection;
    const blocks = {
      ...userBlock({ user, roles, traits, login }),
      ...connectionBlock(addressText(local), addressText(remote)),
      ...serverBlock(host.node),
    };
    void host.emitLate(stamp, draft(blocks));
  }
}

/** Told as a session would tell it: clients show no reason for a request that failed. */
function turnAway(channel: SessionChannel, reason: string): void {
  // Behind the answer to the request, which leaves in this turn of the event loop.
  setImmediate(() => {
    void channel.stderr.write(Buffer.from(`${reason}\r\n`));
    channel.exit(254);
    void channel.close();
  });
}

/** Blocks U, C and Srv. */
type ConnectionBlocks = ReturnType<typeof userBlock> &
  ReturnType<typeof connectionBlock> &
  ReturnType<typeof serverBlock>;

function portEvent(
  blocks: ConnectionBlocks,
  { kind, addr, message, error, sid }: ForwardingEvent,
): EventDraft {
  const code = ({ start: 'T3003I', stop: 'T3003S', error: 'T3003E' } as const)[kind];
  const optional = { ...(error === undefined ? {} : { error }), ...(sid === undefined ? {} : { sid }) };
  return { event: 'port', code, ...blocks, addr, message, success: kind !== 'error', ...optional };
}

function agentEvent(blocks: ConnectionBlocks, error: string | undefined): EventDraft {
  return error === undefined
    ? { event: 'agent-forward', code: 'T3013I', ...blocks, success: true }
    : { event: 'agent-forward', code: 'T3013W', ...blocks, success: false, error };
}

function displayEvent(blocks: ConnectionBlocks, { display, error, sid }: DisplayEvent): EventDraft {
  const optional = {
    ...(display === undefined ? {} : { message: `display ${display}` }),
    ...(error === undefined ? {} : { error }),
    ...(sid === undefined ? {} : { sid }),
  };
  const code = error === undefined ? 'T3008I' : 'T3008W';
  return { event: 'x11-forward', code, ...blocks, success: error === undefined, ...optional };
}
