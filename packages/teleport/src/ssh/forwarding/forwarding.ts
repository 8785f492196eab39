// What one connection forwards: allowed or not, how many at once, told to the log. The relay does it, as the user;
// it is started when something is forwarded for the first time.
import type { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Address, ChannelAnswer, ChannelRefusal } from '../../ssh-transport/connection.ts';
import { joinStreams } from '../../ssh-transport/join-streams.ts';
import type { X11Request } from '../../ssh-transport/session-channel.ts';
import type { ConnectionHandler } from '../../ssh-transport/ssh-server.ts';
import type { ByteCounts } from '../terminal-flow.ts';
import type { Relay, RelayListener } from './relay.ts';
import type { ListenPlace, Place } from './relay-line.ts';

/** Connections of one client through us, either way. Below the relay's own bound and the transport's 256 channels. */
const maxStreams = 200;
/** Listeners of one client, agents' included; a port takes two places of the relay's 64. */
const maxListeners = 24;

export interface ForwardingEvent {
  readonly kind: 'start' | 'stop' | 'error';
  /** `host:port` or a path. */
  readonly addr: string;
  /** Which kind of forwarding, for whoever reads the log. */
  readonly message: string;
  readonly error?: string;
  readonly sid?: string | undefined;
}

/** A relay as a session of the log; ForwardSession is the real one. */
export interface RelaySession {
  readonly facts: { readonly sid: string };
  readonly counts: Readonly<ByteCounts>;
  /** Rejects with an AppError whose message may be shown. */
  readonly relay: Promise<Pick<Relay, 'connect' | 'listen' | 'authorise'>>;
  /** Resolves when it is over, however. */
  readonly over: Promise<void>;
  hangUp(): void;
}

export interface ForwardingOptions {
  /** Why ports and sockets are not forwarded; undefined: they are. */
  readonly refusesPorts: string | undefined;
  /** The same of the client's agent. */
  readonly refusesAgent: string | undefined;
  /** The same of the client's display. */
  readonly refusesX11: string | undefined;
  /** The first display's number. */
  readonly firstDisplay: number;
  /** Starts the relay's session. */
  startSession(): RelaySession;
  port(event: ForwardingEvent): void;
  /** `error` absent: the client's agent is lent. */
  agent(error?: string): void;
  display(event: DisplayEvent): void;
}

export interface DisplayEvent {
  /** `localhost:10.0`; absent: there is none. */
  readonly display?: string;
  readonly error?: string;
  readonly sid?: string | undefined;
}

export interface LentAgent {
  /** SSH_AUTH_SOCK. */
  readonly path: string;
  close(): void;
}

export interface LentDisplay {
  /** DISPLAY. */
  readonly display: string;
  close(): void;
}

export class Forwarding {
  readonly #options: ForwardingOptions;
  /** By `host:port` as asked for (the port as answered), or path. */
  readonly #listeners = new Map<string, { listener: RelayListener; stop: () => void }>();
  #session: RelaySession | undefined;
  #streams = 0;
  #listening = 0;
  #closed = false;

  constructor(options: ForwardingOptions) {
    this.#options = options;
  }

  /** Payload bytes so far: they change while something is going on. */
  get bytes(): number {
    const counts = this.#session?.counts;
    return counts === undefined ? 0 : counts.tx + counts.rx;
  }

  get handler(): ConnectionHandler {
    return {
      directTcpip: ({ destination }) =>
        this.#connect({ kind: 'tcp', address: destination }, addressText(destination), 'local forward'),
      directStreamlocal: ({ path }) => this.#connect({ kind: 'unix', path }, path, 'local forward'),
      remoteForward: ({ bind, open }) => this.#listenOnPort(bind, open),
      cancelRemoteForward: (bind) => this.#cancel(addressText(bind)),
      remoteStreamlocalForward: async ({ path, open }) =>
        (await this.#listen(path, { kind: 'unix', path }, open)) !== undefined,
      cancelRemoteStreamlocalForward: (path) => this.#cancel(path),
    };
  }

  /** undefined: refused, and the log says why. */
  async lendAgent(open: () => Promise<Duplex>): Promise<LentAgent | undefined> {
    let counted = false;
    try {
      this.#refuseUnless(this.#options.refusesAgent, this.#listening < maxListeners);
      this.#listening += 1;
      counted = true;
      const relay = await this.#relay();
      const listener = await relay.listen({ kind: 'agent' }, (stream) => this.#pass(stream, open));
      this.#options.agent();
      return { path: listener.where, close: () => this.#forget(listener) };
    } catch (thrown) {
      if (counted) this.#listening -= 1;
      this.#options.agent(AppError.from(thrown).message);
      return undefined;
    }
  }

  /**
   * A display for the programs of a session, which is the client's. undefined: refused, and the log says why. As sshd:
   * on loopback by TCP, with the client's cookie in the authority file.
   */
  async lendDisplay(
    request: X11Request,
    open: (from: Address) => Promise<Duplex>,
  ): Promise<LentDisplay | undefined> {
    let counted = false;
    let listener: RelayListener | undefined;
    try {
      this.#refuseUnless(this.#options.refusesX11, this.#listening < maxListeners);
      this.#listening += 1;
      counted = true;
      const relay = await this.#relay();
      let first = true;
      const taken = await relay.listen(
        { kind: 'display', first: this.#options.firstDisplay },
        (stream, from) => {
          if (request.singleConnection && !first) return void stream.destroy();
          first = false;
          this.#pass(stream, () => open(from));
        },
      );
      listener = taken;
      const { protocol, cookie, screen } = request;
      await relay.authorise({ display: `unix:${taken.where}.${screen}`, protocol, cookie });
      const display = `localhost:${taken.where}.${screen}`;
      this.#options.display({ display, sid: this.#session?.facts.sid });
      return { display, close: () => this.#forget(taken) };
    } catch (thrown) {
      if (counted) this.#listening -= 1;
      listener?.close();
      this.#options.display({ error: AppError.from(thrown).message, sid: this.#session?.facts.sid });
      return undefined;
    }
  }

  /** The connection is gone, or has to go. */
  close(): void {
    this.#closed = true;
    for (const { stop } of this.#listeners.values()) stop();
    this.#listeners.clear();
    this.#session?.hangUp();
  }

  async #connect(place: Place, addr: string, message: string): Promise<ChannelAnswer> {
    let counted = false;
    try {
      this.#refuseUnless(this.#options.refusesPorts, this.#streams < maxStreams);
      this.#streams += 1;
      counted = true;
      const relay = await this.#relay();
      const stream = await relay.connect(place);
      const sid = this.#session?.facts.sid;
      this.#options.port({ kind: 'start', addr, message, sid });
      const accept = (channel: Duplex) =>
        void joinStreams(channel, stream).then(() => {
          this.#streams -= 1;
          this.#options.port({ kind: 'stop', addr, message, sid });
        });
      return { accept };
    } catch (thrown) {
      if (counted) this.#streams -= 1;
      const error = AppError.from(thrown);
      this.#options.port({
        kind: 'error',
        addr,
        message,
        error: error.message,
        sid: this.#session?.facts.sid,
      });
      return refusal(error);
    }
  }

  async #listenOnPort(bind: Address, open: (from: Address) => Promise<Duplex>): Promise<number | false> {
    const listener = await this.#listen(addressText(bind), { kind: 'tcp', port: bind.port }, open);
    return listener === undefined ? false : Number(listener.where);
  }

  /** undefined: refused, and the log says why. */
  async #listen(
    addr: string,
    place: ListenPlace,
    open: (from: Address) => Promise<Duplex>,
  ): Promise<RelayListener | undefined> {
    const message = 'remote forward';
    let counted = false;
    try {
      this.#refuseUnless(this.#options.refusesPorts, this.#listening < maxListeners);
      this.#listening += 1;
      counted = true;
      const relay = await this.#relay();
      const listener = await relay.listen(place, (stream, from) => this.#pass(stream, () => open(from)));
      // The client cancels with the port it was answered.
      const name = place.kind === 'tcp' ? addr.replace(/:\d+$/, `:${listener.where}`) : addr;
      const event = { addr: name, message, sid: this.#session?.facts.sid };
      this.#options.port({ kind: 'start', ...event });
      const stop = () => this.#options.port({ kind: 'stop', ...event });
      this.#listeners.set(name, { listener, stop });
      return listener;
    } catch (thrown) {
      if (counted) this.#listening -= 1;
      const error = AppError.from(thrown).message;
      this.#options.port({ kind: 'error', addr, message, error, sid: this.#session?.facts.sid });
      return undefined;
    }
  }

  #cancel(name: string): boolean {
    const found = this.#listeners.get(name);
    if (!found) return false;
    this.#listeners.delete(name);
    this.#forget(found.listener);
    found.stop();
    return true;
  }

  #forget(listener: RelayListener): void {
    this.#listening -= 1;
    listener.close();
  }

  /** Somebody came to a listener: on to the client. */
  #pass(stream: Duplex, open: () => Promise<Duplex>): void {
    if (this.#streams >= maxStreams) {
      stream.destroy();
      return;
    }
    this.#streams += 1;
    open()
      .then(
        (channel) => joinStreams(channel, stream),
        () => void stream.destroy(),
      )
      .finally(() => {
        this.#streams -= 1;
      });
  }

  #refuseUnless(refused: string | undefined, place: boolean): void {
    if (refused !== undefined) throw new AppError('denied', 'forwarding.denied', refused);
    if (!place)
      throw new AppError('limit', 'forwarding.limit', 'This connection forwards as much as it may.');
    if (this.#closed) throw new AppError('unavailable', 'forwarding.closed', 'The connection is closing.');
  }

  /** One for the connection. One that ended (its user can kill it) is replaced. */
  #relay(): RelaySession['relay'] {
    if (this.#session) return this.#session.relay;
    const session = this.#options.startSession();
    this.#session = session;
    void session.over.then(() => {
      if (this.#session === session) this.#session = undefined;
    });
    return session.relay;
  }
}

export function addressText({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function refusal(error: AppError): ChannelRefusal {
  if (error.kind === 'denied') return { refuse: 'prohibited', text: error.message };
  if (error.kind === 'limit') return { refuse: 'resources', text: error.message };
  return { refuse: 'connect-failed', text: error.message };
}
