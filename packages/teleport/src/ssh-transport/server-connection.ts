// One client of the server, from accept to close: log-in, then channels.
import type { Duplex } from 'node:stream';
import type { Channel } from './channel.ts';
import { ChannelTable, type OpenAnswer } from './channel-table.ts';
import type { Address, GlobalRequest } from './connection.ts';
import { Keepalive } from './keepalive.ts';
import { DisconnectReason, Message } from './message.ts';
import { type LinkHandler, PacketLink } from './packet-link.ts';
import { openStream, peerConnection } from './peer-connection.ts';
import { RelayDoor } from './relay-door.ts';
import { ServerRequests, serverChannel } from './server-requests.ts';
import { ServerSession } from './server-session.ts';
import type {
  ConnectionHandler,
  ConnectionSource,
  Refusal,
  RefusalKind,
  SshConnection,
  SshLimits,
  SshServerOptions,
} from './ssh-server.ts';
import type { HostKeySigner } from './ssh2-protocol.ts';
import type { StartupPlace } from './startups.ts';
import { UserAuth } from './user-auth.ts';
import { encode } from './wire.ts';

/** What a connection needs from its server. */
export interface ServerContext<Identity> {
  readonly options: SshServerOptions<Identity>;
  readonly limits: SshLimits;
  /** Of new connections: replaced as a whole when a certificate was renewed. */
  signers: Readonly<Record<string, HostKeySigner>>;
  refused(refusal: Refusal): void;
  /** Exactly once. */
  gone(connection: ServerConnection<Identity>): void;
}

let lastId = 0;

/** For a relay's word on a connection that is here only because there may be one. It sends it with the first packet. */
const TRIAL_MS = 5_000;

export const REFUSED_AT_START = {
  'max-connections': 'too many connections',
  'max-startups': 'too many connections that have not logged in',
  'per-source-startups': 'too many connections of one source that have not logged in',
} satisfies Partial<Record<RefusalKind, string>>;

export class ServerConnection<Identity> implements LinkHandler {
  readonly id = ++lastId;
  readonly local: Address;
  readonly closed: Promise<string>;
  readonly #context: ServerContext<Identity>;
  readonly #link: PacketLink;
  readonly #auth: UserAuth<Identity>;
  readonly #resolveClosed: (reason: string) => void;
  readonly #place: StartupPlace;
  #remote: Address;
  #graceTimer: NodeJS.Timeout | undefined;
  #trialTimer: NodeJS.Timeout | undefined;
  #settled = false;
  #refusedAs: RefusalKind | undefined;
  #table: ChannelTable | undefined;
  #handler: ConnectionHandler | undefined;
  #sessions = 0;
  #noMoreSessions = false;
  #idleSinceMs = 0;
  readonly #keepalive: Keepalive;

  /**
   * Leaves its place when the client has logged in, or left without. `relays`: what comes first may be a relay's word
   * for whose it is.
   */
  constructor(
    stream: Duplex,
    source: ConnectionSource,
    context: ServerContext<Identity>,
    { place, relays = false }: { readonly place: StartupPlace; readonly relays?: boolean },
  ) {
    this.#context = context;
    this.#place = place;
    this.#remote = source.remote;
    this.local = source.local ?? { host: '', port: 0 };
    this.#keepalive = new Keepalive(context.limits);
    const { promise, resolve } = Promise.withResolvers<string>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    const { options, limits, signers } = context;
    const door = relays ? this.#relayDoor() : undefined;
    this.#link = new PacketLink(
      {
        stream,
        server: true,
        hostKeys: signers,
        version: options.version ?? 'Sallyport',
        rekeyBytes: limits.rekeyBytes,
        rekeyIntervalMs: limits.rekeyIntervalMs,
        ...(door && { firstBytes: (bytes: Buffer) => door.take(bytes) }),
      },
      this,
    );
    const connection = this;
    this.#auth = new UserAuth<Identity>(this.#link, {
      get remote() {
        return connection.remote;
      },
      local: this.local,
      maxTries: limits.maxAuthTries,
      accepts: (query) => options.accepts?.(query) ?? true,
      authenticate: (attempt) => options.authenticate(attempt),
      accepted: (identity, login) => this.#accepted(identity, login),
      refused: (refusal) => this.#refuse(refusal.kind, refusal.reason, refusal),
    });
    this.#graceTimer = setTimeout(() => this.#graceOver(), limits.loginGraceTimeMs);
    if (place.onTrial) this.#trialTimer = setTimeout(() => this.#endTrial(), TRIAL_MS);
  }

  /** Of the person, once a relay has said who that is. Does not change after the first byte of the client. */
  get remote(): Address {
    return this.#remote;
  }

  get sessions(): number {
    return this.#sessions;
  }

  get channels(): number {
    return this.#table?.size ?? 0;
  }

  get clientVersion(): string {
    return this.#link.peerVersion;
  }

  close(reason: string): void {
    this.#link.disconnect(DisconnectReason.byApplication, reason);
  }

  // ── whose it is ─────────────────────────────────────────────────────────────────────────────────────────────

  #relayDoor(): RelayDoor {
    const { relayed } = this.#context.options;
    return new RelayDoor({
      judge: async (line) => (await relayed?.(line)) ?? { refuse: 'there are no relays here' },
      relayed: (remote) => this.#link.alive && this.#moveTo(remote),
      ordinary: () => {
        if (this.#place.onTrial) this.#endTrial();
        return this.#link.alive;
      },
      refuse: (reason) => {
        if (!this.#link.alive) return;
        this.#refuse('relay', reason);
        this.#link.disconnect(DisconnectReason.hostNotAllowed, 'The relay is not believed.');
      },
      open: (bytes) => this.#link.open(bytes),
    });
  }

  #moveTo(remote: Address): boolean {
    const fields = { connection: this.id, relay: this.#remote, remote };
    this.#remote = remote;
    const refused = this.#place.move(remote.host);
    if (refused === undefined) {
      clearTimeout(this.#trialTimer);
      this.#context.options.log?.debug(fields, 'a relay handed over a connection');
      return true;
    }
    this.#turnAway(refused);
    return false;
  }

  #endTrial(): void {
    if (this.#link.alive) this.#turnAway('per-source-startups');
  }

  #turnAway(kind: keyof typeof REFUSED_AT_START): void {
    this.#refuse(kind, REFUSED_AT_START[kind]);
    this.#link.disconnect(DisconnectReason.tooManyConnections, 'Too many connections.');
  }

  // ── log-in ──────────────────────────────────────────────────────────────────────────────────────────────────

  #refuse(kind: RefusalKind, reason: string, more: Partial<Refusal> = {}): void {
    this.#refusedAs = kind;
    const login = this.#auth?.login;
    const named = login === undefined ? {} : { login };
    this.#context.refused({ ...named, ...more, kind, reason, remote: this.remote, local: this.local });
  }

  #graceOver(): void {
    this.#refuse('login-grace-time', `not logged in after ${this.#context.limits.loginGraceTimeMs} ms`);
    this.#link.disconnect(DisconnectReason.byApplication, 'Log-in took too long.');
  }

  #settle(): void {
    if (this.#settled) return;
    this.#settled = true;
    clearTimeout(this.#graceTimer);
    this.#graceTimer = undefined;
    clearTimeout(this.#trialTimer);
    this.#place.leave();
  }

  #accepted(identity: Identity, login: string): void {
    this.#settle();
    this.#link.trusted = true;
    this.#idleSinceMs = performance.now();
    const table = new ChannelTable(this.#link, {
      maxChannels: this.#context.limits.maxChannels,
      open: (type, fields) =>
        type === 'session' ? this.#openSession() : serverChannel(this.#handler, type, fields),
      globalRequest: (request) => this.#globalRequest(request, requests),
      countChanged: () => {
        this.#idleSinceMs = performance.now();
      },
      handlerFailed: (error) => {
        const fields = { error: String(error), remote: this.remote };
        this.#context.options.log?.warn(fields, 'a handler failed: its channel is closed');
      },
    });
    const requests = new ServerRequests((type, payload) => openStream(table, type, payload));
    this.#table = table;
    try {
      this.#handler = this.#context.options.onConnection(this.#surface(identity, login, table));
      requests.handler = this.#handler;
    } catch (error) {
      this.#context.options.log?.warn({ error: String(error), remote: this.remote }, 'onConnection failed');
      this.close('Internal error.');
    }
  }

  /** What the node sees: no way into the protocol. */
  #surface(identity: Identity, login: string, table: ChannelTable): SshConnection<Identity> {
    const connection = this;
    const { id, remote, local, clientVersion, closed } = this;
    return {
      id,
      identity,
      login,
      remote,
      local,
      clientVersion,
      closed,
      get sessions() {
        return connection.sessions;
      },
      get channels() {
        return connection.channels;
      },
      ...peerConnection(table),
      close: (reason) => connection.close(reason),
    };
  }

  // ── channels ────────────────────────────────────────────────────────────────────────────────────────────────

  #openSession(): OpenAnswer {
    const handler = this.#handler;
    if (!handler?.session) return { refuse: 'prohibited', text: 'there are no sessions here' };
    if (this.#noMoreSessions) return { refuse: 'prohibited', text: 'no more sessions were promised' };
    if (this.#sessions >= this.#context.limits.maxSessions) {
      return { refuse: 'resources', text: 'too many sessions in this connection' };
    }
    return { accept: (channel) => this.#session(channel, handler) };
  }

  #session(channel: Channel, handler: ConnectionHandler): void {
    const table = this.#table;
    if (!table) return;
    this.#sessions++;
    const session = new ServerSession(channel, {
      broken: (what) => this.#link.disconnect(DisconnectReason.protocolError, `Protocol error: ${what}.`),
      closed: () => {
        this.#sessions--;
      },
      openAgent: () => openStream(table, 'auth-agent@openssh.com', encode()),
      openX11: ({ host, port }) => openStream(table, 'x11', encode(host, { uint32: port })),
    });
    channel.owner = session;
    session.handler = handler.session?.({ channel: session }) ?? {};
  }

  #globalRequest(request: GlobalRequest, requests: ServerRequests) {
    if (request.name !== 'no-more-sessions@openssh.com') return requests.answer(request);
    this.#noMoreSessions = true;
    return true;
  }

  // ── the link ────────────────────────────────────────────────────────────────────────────────────────────────

  secured(): void {}

  message(type: number, payload: Buffer): void {
    if (!this.#table) {
      this.#auth.message(type, payload);
      return;
    }
    if (type >= Message.globalRequest) {
      this.#table.message(type, payload);
      return;
    }
    // RFC 4252 section 5.1: log-in requests that come behind the success are ignored.
    if (type !== Message.userauthRequest && type !== Message.extInfo) this.#link.unimplemented();
  }

  drained(): void {
    this.#table?.pump();
  }

  ended(reason: string): void {
    if (!this.#table && !this.#refusedAs) this.#leftEarly(reason);
    this.#settle();
    this.#table?.lost();
    this.#context.gone(this);
    this.#resolveClosed(reason);
    const fields = { connection: this.id, remote: this.remote, reason };
    const { log } = this.#context.options;
    if (reason.startsWith('handler failed')) log?.warn(fields, 'an ssh connection broke on our own fault');
    else log?.debug(fields, 'an ssh connection ended');
  }

  #leftEarly(reason: string): void {
    if (reason.startsWith('protocol error')) this.#refuse('protocol', reason);
    else if (!this.#auth?.offeredKey) this.#refuse('no-credentials', reason);
  }

  /** Called every second. */
  tick(nowMs: number): void {
    if (!this.#table || !this.#link.alive) return;
    const { idleMs } = this.#context.limits;
    if (idleMs > 0 && this.channels === 0 && nowMs - this.#idleSinceMs >= idleMs) {
      this.close('Idle too long.');
      return;
    }
    const due = this.#keepalive.check(nowMs, this.#link.lastReceivedMs);
    if (due === 'give-up') this.close('No answer.');
    else if (due === 'ask') this.#table.requests.ping();
  }
}
