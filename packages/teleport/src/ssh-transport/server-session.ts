// The server's end of a session channel: parses the client's requests (RFC 4254 section 6), bounds them, and puts
// them to the SessionHandler one after another.
import type { Duplex, Readable } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Channel, ChannelOwner } from './channel.ts';
import type { Address } from './connection.ts';
import { SIGNALS } from './message.ts';
import type { Answer, ChannelWriter, SessionChannel, SessionHandler, WindowSize } from './session-channel.ts';
import type { WireReader } from './wire.ts';

/** Requests that wait while an earlier one is being answered. OpenSSH sends some twenty at once (environment). */
const MAX_WAITING = 256;
const MAX_TERM_BYTES = 256;
const MAX_MODES_BYTES = 1024;
/** As sshd: more variables in a session are refused. */
const MAX_ENV = 128;
const MAX_COOKIE_DIGITS = 256;
const MAX_SCREEN = 255;
/** struct winsize holds 16 bits. */
const MAX_CELLS = 0xffff;

type Ask = () => Answer | undefined;
interface Pending {
  readonly ask: Ask;
  readonly reply: ((ok: boolean) => void) | undefined;
}

const hasControl = (text: string) => /\p{Cc}/u.test(text);

function windowSize(fields: WireReader): WindowSize {
  const [cols = 0, rows = 0, xpixel = 0, ypixel = 0] = Array.from({ length: 4 }, () =>
    Math.min(fields.uint32(), MAX_CELLS),
  );
  return { cols, rows, xpixel, ypixel };
}

/** What a session needs from its connection. */
export interface SessionHome {
  /** Ends the connection: the client does not speak the protocol. */
  broken(what: string): void;
  closed(): void;
  openAgent(): Promise<Duplex>;
  openX11(originator: Address): Promise<Duplex>;
}

export class ServerSession implements SessionChannel, ChannelOwner {
  /** Set right after construction, before any request can come. */
  handler: SessionHandler = {};
  readonly #channel: Channel;
  readonly #home: SessionHome;
  #waiting: Pending[] = [];
  #asking = false;
  #started = false;
  #envCount = 0;
  #agentAsked = false;
  #x11Asked = false;
  #gone = false;

  constructor(channel: Channel, home: SessionHome) {
    this.#channel = channel;
    this.#home = home;
  }

  get id(): number {
    return this.#channel.id;
  }
  get stdin(): Readable {
    return this.#channel.incoming;
  }
  get stdout(): ChannelWriter {
    return this.#channel.writer;
  }
  get stderr(): ChannelWriter {
    return this.#channel.extendedWriter;
  }
  get isOpen(): boolean {
    return this.#channel.isOpen;
  }

  exit(status: number): void {
    void this.#channel.request('exit-status', false, { uint32: status >>> 0 });
  }

  exitSignal(name: string, coreDumped: boolean, message: string): void {
    const sent = SIGNALS.has(name) ? name : `${name}@sallyport`;
    void this.#channel.request('exit-signal', false, sent, coreDumped, message, '');
  }

  eof(): void {
    this.#channel.eof();
  }

  close(): Promise<void> {
    return this.#channel.close();
  }

  closed(): void {
    this.#waiting = [];
    this.#gone = true;
    this.#home.closed();
    this.handler.closed?.();
  }

  request(name: string, fields: WireReader, reply: ((ok: boolean) => void) | undefined): void {
    const ask = this.#parse(name, fields);
    if (!fields.ok) {
      this.#home.broken(`malformed ${name.slice(0, 64)} request`);
      return;
    }
    if (this.#waiting.length >= MAX_WAITING) {
      this.#home.broken('too many requests at once');
      return;
    }
    this.#waiting.push({ ask, reply });
    this.#next();
  }

  #next(): void {
    while (!this.#asking) {
      const pending = this.#waiting.shift();
      if (!pending) return;
      const answer = this.#ask(pending.ask);
      if (typeof answer === 'boolean') {
        pending.reply?.(answer);
        continue;
      }
      this.#asking = true;
      answer
        .catch(() => false)
        .then((ok) => {
          this.#asking = false;
          pending.reply?.(ok === true);
          this.#next();
        });
    }
  }

  #ask(ask: Ask): Answer {
    if (!this.#channel.isOpen) return false;
    try {
      return ask() ?? false;
    } catch {
      return false;
    }
  }

  /** Reads all of the request's fields now (the buffer is the packet's), decides later, when it is its turn. */
  #parse(name: string, fields: WireReader): Ask {
    switch (name) {
      case 'pty-req':
        return this.#parsePty(fields);
      case 'env':
        return this.#parseEnv(fields);
      case 'window-change': {
        const size = windowSize(fields);
        return () => {
          this.handler.windowChange?.(size);
          return true;
        };
      }
      case 'signal': {
        const signal = fields.text();
        return () => (SIGNALS.has(signal) ? this.handler.signal?.(signal) : false);
      }
      case 'shell':
        return () => this.#start(() => this.handler.shell?.());
      case 'exec': {
        const raw = Buffer.from(fields.string());
        const bad = raw.includes(0);
        return () => this.#start(() => (bad ? false : this.handler.exec?.(raw.toString('utf8'), raw)));
      }
      case 'subsystem': {
        const subsystem = fields.text();
        const bad = subsystem.length > 256 || hasControl(subsystem);
        return () => this.#start(() => (bad ? false : this.handler.subsystem?.(subsystem)));
      }
      case 'auth-agent-req@openssh.com':
        return () => this.#agent();
      case 'x11-req':
        return this.#parseX11(fields);
      default:
        return () => false;
    }
  }

  #parsePty(fields: WireReader): Ask {
    const term = fields.text();
    const size = windowSize(fields);
    const modes = Buffer.from(fields.string());
    const bad = term.length > MAX_TERM_BYTES || hasControl(term) || modes.length > MAX_MODES_BYTES;
    return () => (bad || this.#started ? false : this.handler.pty?.({ term, ...size, modes }));
  }

  #parseEnv(fields: WireReader): Ask {
    const name = fields.text();
    const value = fields.text();
    const bad = !/^[\x21-\x3c\x3e-\x7e]{1,256}$/.test(name) || value.includes('\0');
    return () => {
      if (bad || this.#started || ++this.#envCount > MAX_ENV) return false;
      return this.handler.env?.(name, value);
    };
  }

  #parseX11(fields: WireReader): Ask {
    const singleConnection = fields.boolean();
    const protocol = fields.text();
    const cookie = fields.text();
    const screen = fields.uint32();
    const bad =
      !/^[A-Za-z0-9-]{1,63}$/.test(protocol) ||
      !/^([0-9a-fA-F]{2})+$/.test(cookie) ||
      cookie.length > MAX_COOKIE_DIGITS ||
      screen > MAX_SCREEN;
    return () => {
      if (bad || this.#started || this.#x11Asked) return false;
      this.#x11Asked = true;
      return this.handler.x11?.({ singleConnection, protocol, cookie, screen }, async (originator) => {
        this.#refuseWhenGone('display');
        return this.#home.openX11(originator);
      });
    };
  }

  #agent(): Answer | undefined {
    if (this.#agentAsked) return false;
    this.#agentAsked = true;
    return this.handler.agentForward?.(async () => {
      this.#refuseWhenGone('agent');
      return this.#home.openAgent();
    });
  }

  #refuseWhenGone(what: string): void {
    if (!this.#gone) return;
    throw new AppError('conflict', 'ssh.session_over', `The session whose ${what} this is has ended.`);
  }

  /** One of shell, exec and subsystem may succeed, once. */
  #start(ask: Ask): Answer | undefined {
    if (this.#started) return false;
    const keep = (ok: boolean) => {
      this.#started = ok;
      return ok;
    };
    const answer = ask() ?? false;
    return typeof answer === 'boolean' ? keep(answer) : answer.then(keep);
  }
}
