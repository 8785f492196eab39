// Asks a relay (packages/kernel/launcher/relay.c) to connect and to listen, and gets streams. Knows no permission.
import type { Duplex, Readable, Writable } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Address } from '../../ssh-transport/connection.ts';
import type { ByteCounts } from '../terminal-flow.ts';
import {
  closeLine,
  connectLine,
  cookieLine,
  type DisplayCookie,
  type ListenPlace,
  listenLine,
  type Place,
  parseRelayLine,
  type RelayEnds,
  type RelayLine,
} from './relay-line.ts';
import { RelayStream } from './relay-stream.ts';

/** Several addresses of a name, 30 s each, and a resolver that does not answer. */
const patienceMs = 75_000;
/** Twice the relay's longest line. */
const maxLine = 1_024;

/** Whoever came to a listener. Port 0 and no host: on a Unix socket. */
export type Arrival = (stream: Duplex, originator: Address) => void;

export interface RelayListener {
  /** The port, the path, or the number of the display, that listens. */
  readonly where: string;
  /** Connections that came go on. */
  close(): void;
}

interface Asked {
  readonly told: PromiseWithResolvers<RelayEnds | string>;
  readonly timer: NodeJS.Timeout;
}

export class Relay {
  readonly #input: Writable;
  readonly #uid: number;
  readonly #asked = new Map<number, Asked>();
  readonly #listeners = new Map<number, Arrival>();
  /** By the pid of the process that carries it. */
  readonly #streams = new Map<number, RelayStream>();
  readonly #closed = Promise.withResolvers<void>();
  #line = '';
  #lastId = 0;
  #ended = false;
  readonly #counts: ByteCounts;

  /** `uid`: whom it works for. `counts`: where the bytes of all its connections are added up. */
  constructor(input: Writable, output: Readable, uid: number, counts: ByteCounts) {
    this.#input = input;
    this.#uid = uid;
    this.#counts = counts;
    input.on('error', () => this.#end());
    output.on('data', (bytes: Buffer) => this.#hear(bytes.toString()));
    output.on('error', () => {}).on('close', () => this.#end());
  }

  /** Resolves when the relay is gone. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Rejects with an AppError whose message may be shown to the client. */
  async connect(place: Place): Promise<Duplex> {
    const ends = await this.#ask((id) => connectLine(id, place));
    if (typeof ends === 'string') throw unreachable(ends);
    return this.#open(ends);
  }

  async listen(place: ListenPlace, arrival: Arrival): Promise<RelayListener> {
    let listener = 0;
    const where = await this.#ask((id) => {
      listener = id;
      this.#listeners.set(id, arrival); // before the answer: somebody may come at once
      return listenLine(id, place);
    }).catch((thrown) => {
      this.#listeners.delete(listener);
      throw thrown;
    });
    const close = () => {
      this.#listeners.delete(listener);
      this.#say(closeLine(listener));
    };
    return { where: String(where), close };
  }

  /** Puts a cookie into the user's X authority file. Rejects as `connect` does. */
  async authorise(cookie: DisplayCookie): Promise<void> {
    await this.#ask((id) => cookieLine(id, cookie));
  }

  /** Everything it holds ends, and the sockets it made go. */
  close(): void {
    this.#input.end();
  }

  async #ask(line: (id: number) => string): Promise<RelayEnds | string> {
    if (this.#ended) throw unreachable('the relay is gone');
    const id = ++this.#lastId;
    const text = line(id);
    const told = Promise.withResolvers<RelayEnds | string>();
    const timer = setTimeout(() => {
      this.#say(closeLine(id));
      this.#answer(id)?.told.reject(unreachable('Connection timed out'));
    }, patienceMs);
    this.#asked.set(id, { told, timer });
    this.#say(text);
    return told.promise;
  }

  #say(line: string): void {
    if (this.#input.writable) this.#input.write(line);
  }

  #answer(id: number): Asked | undefined {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    clearTimeout(asked?.timer);
    return asked;
  }

  #hear(text: string): void {
    const lines = (this.#line + text).split('\n');
    this.#line = lines.pop() ?? '';
    if (this.#line.length > maxLine) this.#line = '';
    for (const line of lines) {
      const parsed = parseRelayLine(line);
      if (parsed) this.#take(parsed);
    }
  }

  #take(line: RelayLine): void {
    switch (line.word) {
      case 'open': {
        const asked = this.#answer(line.id);
        if (asked) asked.told.resolve(line.ends);
        else this.#refuse(line.ends);
        break;
      }
      case 'failed':
        this.#answer(line.id)?.told.reject(unreachable(line.text));
        break;
      case 'listening':
        this.#answer(line.id)?.told.resolve(line.where);
        break;
      case 'done':
        this.#answer(line.id)?.told.resolve('done');
        break;
      case 'incoming':
        this.#arrived(line.id, line.ends, line.originator);
        break;
      case 'closed':
        this.#streams.get(line.pid)?.connectionOver();
        this.#streams.delete(line.pid);
    }
  }

  #arrived(id: number, ends: RelayEnds, originator: Address): void {
    const arrival = this.#listeners.get(id);
    if (!arrival) {
      this.#refuse(ends);
      return;
    }
    try {
      arrival(this.#open(ends), originator);
    } catch {
      // Gone again, which is nobody's fault.
    }
  }

  #open(ends: RelayEnds): RelayStream {
    const stream = RelayStream.open(ends, this.#uid, this.#counts);
    this.#streams.set(ends.pid, stream);
    return stream;
  }

  /** Too late: nobody waits for it any more. Opened and let go, it ends. */
  #refuse(ends: RelayEnds): void {
    try {
      RelayStream.open(ends, this.#uid, this.#counts).destroy();
    } catch {
      // It is gone already.
    }
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const id of [...this.#asked.keys()]) this.#answer(id)?.told.reject(unreachable('the relay is gone'));
    for (const stream of this.#streams.values()) stream.connectionOver();
    this.#streams.clear();
    this.#listeners.clear();
    this.#closed.resolve();
  }
}

/** `text` is the operating system's: it names no more than what the user could find out with a shell. */
function unreachable(text: string): AppError {
  return new AppError('unavailable', 'forwarding.unreachable', text);
}
