// What a client asks of a connection beside sessions: parses and bounds it, puts it to the ConnectionHandler.
import type { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { OpenAnswer } from './channel-table.ts';
import type { Address, ChannelRefusal, GlobalAnswer, GlobalRequest } from './connection.ts';
import { asStream, clean, otherChannel } from './other-channel.ts';
import type { ConnectionHandler } from './ssh-server.ts';
import { encode, WireReader } from './wire.ts';

const MAX_HOST_BYTES = 255;
const MAX_PORT = 0xffff;
/** sun_path holds 108 bytes with its NUL; what is longer cannot be meant. */
const MAX_PATH_BYTES = 107;
/** Listeners a connection may have us hold. */
const MAX_FORWARDS = 128;

const NOT_ALLOWED: ChannelRefusal = {
  refuse: 'prohibited',
  text: 'this kind of channel is not allowed here',
};
const MALFORMED: ChannelRefusal = { refuse: 'connect-failed', text: 'not an address' };

/** Undefined when no socket could have it. */
function readAddress(fields: WireReader): Address | undefined {
  const host = fields.text();
  const port = fields.uint32();
  return fields.ok && clean(host, MAX_HOST_BYTES) && port <= MAX_PORT ? { host, port } : undefined;
}

function readPath(fields: WireReader): string | undefined {
  const path = fields.text();
  return fields.ok && path !== '' && clean(path, MAX_PATH_BYTES) ? path : undefined;
}

export function serverChannel(
  handler: ConnectionHandler | undefined,
  type: string,
  fields: WireReader,
): OpenAnswer | Promise<OpenAnswer> {
  switch (type) {
    case 'direct-tcpip': {
      const destination = readAddress(fields);
      const originator = readAddress(fields);
      if (!handler?.directTcpip) return NOT_ALLOWED;
      if (!destination || !originator || destination.port === 0) return MALFORMED;
      return asStream(handler.directTcpip({ destination, originator }));
    }
    case 'direct-streamlocal@openssh.com': {
      const path = readPath(fields);
      if (!handler?.directStreamlocal) return NOT_ALLOWED;
      return path === undefined ? MALFORMED : asStream(handler.directStreamlocal({ path }));
    }
    default:
      return otherChannel(handler, type, fields);
  }
}

/** Opens a channel to the client. */
type OpenStream = (type: string, payload: Buffer) => Promise<Duplex>;

/** Global requests of a client: listeners it wants us to hold, and whatever the handler knows. */
export class ServerRequests {
  readonly #open: OpenStream;
  #forwards = 0;
  /** Set by the owner, who needs the table first. */
  handler: ConnectionHandler | undefined;

  constructor(open: OpenStream) {
    this.#open = open;
  }

  answer(request: GlobalRequest): GlobalAnswer | Promise<GlobalAnswer> {
    const fields = new WireReader(request.payload);
    switch (request.name) {
      case 'tcpip-forward':
        return this.#forward(readAddress(fields));
      case 'cancel-tcpip-forward':
        return this.#cancel(readAddress(fields), (bind) => this.handler?.cancelRemoteForward?.(bind));
      case 'streamlocal-forward@openssh.com':
        return this.#forwardPath(readPath(fields));
      case 'cancel-streamlocal-forward@openssh.com':
        return this.#cancel(readPath(fields), (path) => this.handler?.cancelRemoteStreamlocalForward?.(path));
      default:
        return this.handler?.globalRequest?.(request) ?? false;
    }
  }

  async #forward(bind: Address | undefined): Promise<GlobalAnswer> {
    if (!bind || !this.handler?.remoteForward || this.#forwards >= MAX_FORWARDS) return false;
    const { host } = bind;
    // Until the client has its answer it does not know the port, and would refuse connections from there.
    const told = Promise.withResolvers<number | false>();
    const open = async (originator: Address) => {
      const listening = await told.promise;
      if (listening === false)
        throw new AppError('conflict', 'ssh.not_forwarded', 'Nothing listens for the client.');
      const ends = [host, { uint32: listening }, originator.host, { uint32: originator.port }];
      return this.#open('forwarded-tcpip', encode(...ends));
    };
    const port = await this.#listening(() => this.handler?.remoteForward?.({ bind, open }) ?? false);
    // The answer leaves in this turn of the event loop, a microtask or two from here.
    setImmediate(() => told.resolve(port));
    if (port === false) return false;
    // Only who asked for any port is told which (RFC 4254 section 7.1).
    return bind.port === 0 ? encode({ uint32: port }) : true;
  }

  async #forwardPath(path: string | undefined): Promise<GlobalAnswer> {
    if (path === undefined || !this.handler?.remoteStreamlocalForward || this.#forwards >= MAX_FORWARDS)
      return false;
    const told = Promise.withResolvers<boolean>();
    const open = async () => {
      if (!(await told.promise))
        throw new AppError('conflict', 'ssh.not_forwarded', 'Nothing listens for the client.');
      return this.#open('forwarded-streamlocal@openssh.com', encode(path, ''));
    };
    const ok = await this.#listening(() => this.handler?.remoteStreamlocalForward?.({ path, open }) ?? false);
    setImmediate(() => told.resolve(ok));
    return ok;
  }

  /** Counted from the asking on: requests that wait for an answer hold a place as well. */
  async #listening<T extends number | boolean>(ask: () => T | Promise<T>): Promise<T | false> {
    this.#forwards++;
    let listening: T | false = false;
    try {
      listening = await ask();
    } catch {
      // Refused, as any handler's fault is.
    }
    if (listening === false) this.#forwards--;
    return listening;
  }

  async #cancel<T>(
    what: T | undefined,
    cancel: (what: T) => boolean | Promise<boolean> | undefined,
  ): Promise<boolean> {
    const cancelled = what !== undefined && ((await cancel(what)) ?? false);
    if (cancelled) this.#forwards--;
    return cancelled;
  }
}
