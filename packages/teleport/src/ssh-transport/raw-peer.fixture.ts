// For tests: a peer that speaks the packet layer properly and above it whatever a test likes.
import { connect, type Socket } from 'node:net';
import { Message } from './message.ts';
import { userKey } from './openssh.fixture.ts';
import { PacketLink } from './packet-link.ts';
import { privateKeyFrom, ready } from './ssh2-protocol.ts';
import { logInRequest } from './user-auth-client.ts';
import { encode, type Field } from './wire.ts';

export interface Received {
  readonly type: number;
  readonly payload: Buffer;
}

export class RawPeer {
  readonly socket: Socket;
  readonly link: PacketLink;
  readonly received: Received[] = [];
  /** Why the connection ended; undefined while it lives. */
  ended: string | undefined;
  #waiting: { readonly type: number; readonly resolve: (message: Received | undefined) => void }[] = [];
  #secured = Promise.withResolvers<void>();

  private constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.link = new PacketLink(
      {
        stream: this.socket,
        server: false,
        hostKeyAlgorithms: ['ssh-ed25519'],
        version: 'Raw',
        rekeyBytes: 2 ** 40,
        rekeyIntervalMs: 0,
      },
      {
        secured: () => this.#secured.resolve(),
        message: (type, payload) => this.#take({ type, payload: Buffer.from(payload) }),
        drained: () => {},
        ended: (reason) => {
          this.ended = reason;
          this.#secured.resolve();
          for (const { resolve } of this.#waiting.splice(0)) resolve(undefined);
        },
      },
    );
    this.link.trusted = true;
  }

  /** After the key exchange; nothing else has happened. */
  static async connect(port: number): Promise<RawPeer> {
    await ready;
    const peer = new RawPeer(port);
    await peer.#secured.promise;
    return peer;
  }

  static async logIn(port: number): Promise<RawPeer> {
    const peer = await RawPeer.connect(port);
    await peer.askForLogIn();
    peer.signIn();
    if (!(await peer.next(Message.userauthSuccess))) throw new Error(`not let in: ${peer.ended}`);
    return peer;
  }

  #take(message: Received): void {
    this.received.push(message);
    const at = this.#waiting.findIndex(({ type }) => type === message.type);
    if (at >= 0) this.#waiting.splice(at, 1)[0]?.resolve(message);
  }

  /** The next message of this type; undefined when the connection ends before. */
  next(type: number): Promise<Received | undefined> {
    if (this.ended !== undefined) return Promise.resolve(undefined);
    const { promise, resolve } = Promise.withResolvers<Received | undefined>();
    this.#waiting.push({ type, resolve });
    return promise;
  }

  /** For good or until `readAgain`: the link would otherwise resume by itself. */
  stopReading(): void {
    this.socket.pause();
    this.socket.resume = () => this.socket;
  }

  readAgain(): void {
    Reflect.deleteProperty(this.socket, 'resume');
    this.socket.resume();
  }

  send(...fields: readonly Field[]): void {
    this.link.send(encode(...fields));
  }

  async askForLogIn(): Promise<void> {
    const answer = this.next(Message.serviceAccept);
    this.send({ byte: Message.serviceRequest }, 'ssh-userauth');
    await answer;
  }

  /** Sends a signed request: by default the right one. */
  signIn(
    privateKey = userKey('ed25519').privateKey,
    blob = userKey('ed25519').certificate,
    login = 'alice',
  ): void {
    const credential = { blob, privateKey: privateKeyFrom(privateKey) };
    const request = logInRequest(credential, login, this.link.sessionId, undefined);
    if (request) this.link.send(request);
  }

  async open(window = 2 ** 32 - 1): Promise<void> {
    const opened = this.next(Message.channelOpenConfirmation);
    const packet = 32 * 1024;
    this.send(
      { byte: Message.channelOpen },
      'session',
      { uint32: 7 },
      { uint32: window },
      { uint32: packet },
    );
    await opened;
  }

  start(command: string): void {
    this.send({ byte: Message.channelRequest }, { uint32: 0 }, 'exec', true, command);
  }

  /** Opens a session and starts `command`. */
  async exec(command: string, window?: number): Promise<void> {
    await this.open(window);
    this.start(command);
  }
}
