// What a server asks of our client: connections of listeners it holds for us, the user's agent, and whatever the
// handler knows. Nothing is accepted that we did not ask for first.
import type { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import { ChannelStream } from './channel-stream.ts';
import type { ChannelTable, OpenAnswer } from './channel-table.ts';
import type { Address, GlobalAnswer, GlobalRequest, PeerHandler } from './connection.ts';
import { joinStreams } from './join-streams.ts';
import { otherChannel } from './other-channel.ts';
import type { ForwardedListener } from './ssh-client.ts';
import { encode, type WireReader } from './wire.ts';

interface Forward {
  readonly host: string;
  readonly port: number;
  connected(channel: Duplex, originator: Address): void;
}

const NOT_ASKED_FOR: OpenAnswer = { refuse: 'prohibited', text: 'not asked for' };

export class ClientRequests {
  readonly #handler: PeerHandler | undefined;
  readonly #connectAgent: (() => Duplex | Promise<Duplex>) | undefined;
  #agentOffered = false;
  readonly #forwards = new Set<Forward>();

  constructor(handler: PeerHandler | undefined, connectAgent: (() => Duplex | Promise<Duplex>) | undefined) {
    this.#handler = handler;
    this.#connectAgent = connectAgent;
  }

  globalRequest(request: GlobalRequest): GlobalAnswer | Promise<GlobalAnswer> {
    return this.#handler?.globalRequest?.(request) ?? false;
  }

  channel(type: string, fields: WireReader): OpenAnswer | Promise<OpenAnswer> {
    switch (type) {
      case 'forwarded-tcpip': {
        const [host, port] = [fields.text(), fields.uint32()];
        const originator = { host: fields.text(), port: fields.uint32() };
        return this.#forwarded(host, port, originator);
      }
      case 'forwarded-streamlocal@openssh.com':
        return this.#forwarded(fields.text(), 0, { host: '', port: 0 });
      case 'auth-agent@openssh.com':
        return this.#agent();
      default:
        return otherChannel(this.#handler, type, fields);
    }
  }

  /** Asks with `ask`; from its sending on the server may connect. False: there is no agent, or the server refused. */
  async offerAgent(ask: () => Promise<boolean>): Promise<boolean> {
    if (!this.#connectAgent) return false;
    const before = this.#agentOffered;
    this.#agentOffered = true;
    const agreed = await ask();
    this.#agentOffered = before || agreed;
    return agreed;
  }

  async #agent(): Promise<OpenAnswer> {
    if (!this.#agentOffered || !this.#connectAgent) return NOT_ASKED_FOR;
    const agent = await this.#connectAgent();
    return { accept: (channel) => void joinStreams(new ChannelStream(channel), agent) };
  }

  #forwarded(host: string, port: number, originator: Address): OpenAnswer {
    const samePort = [...this.#forwards].filter((forward) => forward.port === port);
    // Servers differ in how they spell the address (as asked, or as bound); the port decides where it is unique.
    const forward = samePort.find((each) => each.host === host) ?? (port > 0 ? samePort[0] : undefined);
    if (!forward) return NOT_ASKED_FOR;
    return { accept: (channel) => forward.connected(new ChannelStream(channel), originator) };
  }

  listenTcp(table: ChannelTable, bind: Address, connected: Forward['connected']): Promise<ForwardedListener> {
    const payload = (port: number) => encode(bind.host, { uint32: port });
    return this.#listen(table, ['tcpip-forward', 'cancel-tcpip-forward'], payload, {
      host: bind.host,
      port: bind.port,
      connected,
    });
  }

  listenPath(
    table: ChannelTable,
    path: string,
    connected: (channel: Duplex) => void,
  ): Promise<ForwardedListener> {
    const names = ['streamlocal-forward@openssh.com', 'cancel-streamlocal-forward@openssh.com'] as const;
    return this.#listen(table, names, () => encode(path), { host: path, port: 0, connected });
  }

  #listen(
    table: ChannelTable,
    [ask, cancel]: readonly [string, string],
    payload: (port: number) => Buffer,
    wanted: Forward,
  ): Promise<ForwardedListener> {
    const { promise, resolve, reject } = Promise.withResolvers<ForwardedListener>();
    // In the answer's own turn: the first connection may stand right behind it.
    table.requests.ask(ask, payload(wanted.port), (answer) => {
      if (!answer) {
        reject(new AppError('denied', 'ssh.forward_refused', 'The server does not listen for us.'));
        return;
      }
      const port = answer.length >= 4 ? answer.readUInt32BE() : wanted.port;
      const forward = { ...wanted, port };
      this.#forwards.add(forward);
      const stop = () => {
        this.#forwards.delete(forward);
        const { promise: stopped, resolve: told } = Promise.withResolvers<boolean>();
        table.requests.ask(cancel, payload(port), (done) => told(done !== undefined));
        return stopped;
      };
      resolve({ port, cancel: stop });
    });
    return promise;
  }
}
