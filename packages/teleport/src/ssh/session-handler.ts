// Answers the requests of one session channel: gathers terminal and environment, then starts the session.
import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { Address } from '../ssh-transport/connection.ts';
import type {
  PtyRequest,
  SessionChannel,
  SessionHandler,
  WindowSize,
  X11Request,
} from '../ssh-transport/session-channel.ts';
import { AcceptedEnvironment } from './accept-env.ts';
import type { LentAgent, LentDisplay } from './forwarding/forwarding.ts';
import type { Session } from './session.ts';
import { type JoinWish, JoinWishes } from './sharing/join-wish.ts';
import type { Joiner } from './sharing/joining.ts';

export interface SessionOpening {
  readonly sid: string;
  readonly command: string | undefined;
  readonly subsystem?: 'sftp' | undefined;
  readonly pty: PtyRequest | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly channel: SessionChannel;
}

export interface SessionDoor {
  /** undefined: refused, and the client has been told. */
  open(opening: SessionOpening): Session | undefined;
  /** Joins a session that lives here; who is refused is told on the channel. */
  join(wish: JoinWish, channel: SessionChannel): Joiner;
  /** The certificate permits a terminal. */
  readonly permitsPty: boolean;
  /** undefined: refused, and the log says why. */
  lendAgent(open: () => Promise<Duplex>): Promise<LentAgent | undefined>;
  /** undefined: refused, and the log says why. */
  lendDisplay(
    request: X11Request,
    open: (originator: Address) => Promise<Duplex>,
  ): Promise<LentDisplay | undefined>;
  /** Asked for a subsystem which this node has not. */
  subsystemRefused(name: string): void;
}

export class ChannelRequests implements SessionHandler {
  readonly #door: SessionDoor;
  readonly #channel: SessionChannel;
  readonly #environment = new AcceptedEnvironment();
  #pty: PtyRequest | undefined;
  readonly #joins = new JoinWishes();
  #session: Session | undefined;
  #joiner: Joiner | undefined;
  #agent: LentAgent | undefined;
  #display: LentDisplay | undefined;
  #isClosed = false;

  constructor(door: SessionDoor, channel: SessionChannel) {
    this.#door = door;
    this.#channel = channel;
  }

  pty(request: PtyRequest): boolean {
    if (!this.#door.permitsPty || this.#pty) return false;
    this.#pty = request;
    return true;
  }

  env(name: string, value: string): boolean {
    return this.#joins.offer(name, value) ?? this.#environment.offer(name, value);
  }

  windowChange(size: WindowSize): void {
    if (this.#session) this.#session.resize(size);
    else if (this.#pty) this.#pty = { ...this.#pty, ...size };
  }

  signal(name: string): boolean {
    return this.#session?.signal(name) ?? false;
  }

  shell(): boolean {
    const { wish } = this.#joins;
    if (wish === undefined) return this.#open(undefined);
    this.#joiner = this.#door.join(wish, this.#channel);
    return true;
  }

  exec(command: string): boolean {
    return this.#open(command);
  }

  subsystem(name: string): boolean {
    if (name === 'sftp') return this.#open(undefined, name);
    this.#door.subsystemRefused(name);
    return false;
  }

  async agentForward(open: () => Promise<Duplex>): Promise<boolean> {
    if (this.#agent || this.#session) return false; // a shell that runs already does not look for it any more
    this.#agent = await this.#door.lendAgent(open);
    if (this.#isClosed) this.#agent?.close();
    return this.#agent !== undefined;
  }

  async x11(request: X11Request, open: (originator: Address) => Promise<Duplex>): Promise<boolean> {
    this.#display = await this.#door.lendDisplay(request, open);
    if (this.#isClosed) this.#display?.close();
    return this.#display !== undefined;
  }

  closed(): void {
    this.#isClosed = true;
    this.#agent?.close();
    this.#display?.close();
    this.#session?.channelClosed();
    this.#joiner?.channelClosed();
  }

  /** Answered at once: how the opening went is told on the channel, as text and exit status. */
  #open(command: string | undefined, subsystem?: 'sftp'): boolean {
    this.#session = this.#door.open({
      sid: randomUUID(),
      command,
      subsystem,
      pty: subsystem === undefined ? this.#pty : undefined, // no subsystem speaks through a terminal
      env: { ...this.#environment.variables, ...this.#lentVariables() },
      channel: this.#channel,
    });
    return true;
  }

  #lentVariables(): Record<string, string> {
    return {
      ...(this.#agent === undefined ? {} : { SSH_AUTH_SOCK: this.#agent.path }),
      ...(this.#display === undefined ? {} : { DISPLAY: this.#display.display }),
    };
  }
}
