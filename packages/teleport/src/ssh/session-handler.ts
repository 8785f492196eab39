// Answers the requests of one session channel: gathers terminal and environment, then starts the session.
import { randomUUID } from 'node:crypto';
import type {
  PtyRequest,
  SessionChannel,
  SessionHandler,
  WindowSize,
} from '../ssh-transport/session-channel.ts';
import { AcceptedEnvironment } from './accept-env.ts';
import type { Session } from './session.ts';

export interface SessionDoor {
  /** undefined: refused, and the client has been told. */
  open(request: {
    readonly sid: string;
    readonly command: string | undefined;
    readonly pty: PtyRequest | undefined;
    readonly env: Readonly<Record<string, string>>;
    readonly channel: SessionChannel;
  }): Session | undefined;
  /** The certificate permits a terminal. */
  readonly permitsPty: boolean;
  /** Asked for a subsystem, which this node has not (yet). */
  subsystemRefused(name: string): void;
}

export class ChannelRequests implements SessionHandler {
  readonly #door: SessionDoor;
  readonly #channel: SessionChannel;
  readonly #environment = new AcceptedEnvironment();
  #pty: PtyRequest | undefined;
  #session: Session | undefined;

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
    return this.#environment.offer(name, value);
  }

  windowChange(size: WindowSize): void {
    if (this.#session) this.#session.resize(size);
    else if (this.#pty) this.#pty = { ...this.#pty, ...size };
  }

  signal(name: string): boolean {
    return this.#session?.signal(name) ?? false;
  }

  shell(): boolean {
    return this.#open(undefined);
  }

  exec(command: string): boolean {
    return this.#open(command);
  }

  subsystem(name: string): boolean {
    this.#door.subsystemRefused(name);
    return false;
  }

  closed(): void {
    this.#session?.channelClosed();
  }

  /** Answered at once: how the opening went is told on the channel, as text and exit status. */
  #open(command: string | undefined): boolean {
    this.#session = this.#door.open({
      sid: randomUUID(),
      command,
      pty: this.#pty,
      env: this.#environment.variables,
      channel: this.#channel,
    });
    return this.#session !== undefined;
  }
}
