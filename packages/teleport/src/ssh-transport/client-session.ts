// The client's end of a session channel.
import type { Readable } from 'node:stream';
import type { Channel, ChannelOwner } from './channel.ts';
import type { ChannelWriter, PtyRequest, WindowSize } from './session-channel.ts';
import type { ClientSession, ExitStatus } from './ssh-client.ts';
import type { Field, WireReader } from './wire.ts';

const sizeFields = ({ cols, rows, xpixel, ypixel }: WindowSize): Field[] =>
  [cols, rows, xpixel, ypixel].map((uint32) => ({ uint32 }));

/** Sends the request, if there is an agent to offer. */
type OfferAgent = (ask: () => Promise<boolean>) => Promise<boolean>;

export class ClientChannelSession implements ClientSession, ChannelOwner {
  readonly stdin: ChannelWriter;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly exited: Promise<ExitStatus | undefined>;
  readonly #channel: Channel;
  readonly #offerAgent: OfferAgent;
  readonly #resolveExited: (status: ExitStatus | undefined) => void;
  #status: ExitStatus | undefined;

  constructor(channel: Channel, offerAgent: OfferAgent) {
    this.#channel = channel;
    this.#offerAgent = offerAgent;
    channel.owner = this;
    this.stdin = channel.writer;
    this.stdout = channel.incoming;
    this.stderr = channel.incomingExtended ?? channel.incoming;
    const { promise, resolve } = Promise.withResolvers<ExitStatus | undefined>();
    this.exited = promise;
    this.#resolveExited = resolve;
  }

  pty(request: PtyRequest): Promise<boolean> {
    return this.#channel.request('pty-req', true, request.term, ...sizeFields(request), request.modes);
  }
  env(name: string, value: string): Promise<boolean> {
    return this.#channel.request('env', true, name, value);
  }
  forwardAgent(): Promise<boolean> {
    return this.#offerAgent(() => this.#channel.request('auth-agent-req@openssh.com', true));
  }
  shell(): Promise<boolean> {
    return this.#channel.request('shell', true);
  }
  exec(command: string): Promise<boolean> {
    return this.#channel.request('exec', true, command);
  }
  subsystem(name: string): Promise<boolean> {
    return this.#channel.request('subsystem', true, name);
  }
  windowChange(size: WindowSize): void {
    void this.#channel.request('window-change', false, ...sizeFields(size));
  }
  signal(name: string): void {
    void this.#channel.request('signal', false, name);
  }
  eof(): void {
    this.#channel.eof();
  }
  close(): Promise<void> {
    return this.#channel.close();
  }

  request(name: string, fields: WireReader, reply: ((ok: boolean) => void) | undefined): void {
    if (name === 'exit-status') this.#status = { code: fields.uint32() };
    else if (name === 'exit-signal') {
      this.#status = { signal: fields.text(), coreDumped: fields.boolean(), message: fields.text() };
    }
    reply?.(name.startsWith('exit-'));
  }

  closed(): void {
    this.#resolveExited(this.#status);
  }
}
