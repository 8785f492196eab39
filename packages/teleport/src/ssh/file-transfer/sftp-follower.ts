// Reads an SFTP session as it passes, and says what was done: an event for each pair of request and answer that did
// something. Our server answers in the order it is asked (sftp.c), so a queue is all the pairing there is; an answer
// that does not fit means that somebody else answers, or that we misread, and either ends the session.
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { answerWants, parseAnswer, type SftpAnswer } from '../../ssh-transport/sftp/answers.ts';
import { PacketFramer } from '../../ssh-transport/sftp/packet-framer.ts';
import { OpenFlag, Status } from '../../ssh-transport/sftp/protocol.ts';
import { parseRequest, requestWants, type SftpRequest } from '../../ssh-transport/sftp/requests.ts';
import type { SessionFacts } from '../session-facts.ts';
import type { Follower } from './follower.ts';
import { type SftpAction, sftpEvent, subjectOf } from './sftp-events.ts';

/** As many as our server holds open (SFTP_HANDLES_MAX); it can answer no more handles than that. */
const MAX_OPEN = 512;

interface OpenPlace {
  readonly path: Buffer;
  readonly folder: boolean;
  read: number;
  written: number;
  /** Its names were asked for: told once, not once an answer. */
  listed: boolean;
}

interface Waiting {
  readonly id: number;
  readonly request: SftpRequest;
}

export class SftpFollower implements Follower {
  readonly recordsOutput = false;
  readonly #facts: SessionFacts;
  readonly #requests = new PacketFramer({ wants: requestWants, packet: (...p) => this.#asked(...p) });
  readonly #answers = new PacketFramer({ wants: answerWants, packet: (...p) => this.#answered(...p) });
  readonly #open = new Map<string, OpenPlace>();
  #queue: Waiting[] = [];
  /** Where the queue begins: moved along, and cut off now and then. */
  #first = 0;
  #greeted = false;
  /** Where relative paths start: the server's own answer to the question for ".". */
  #workingDirectory: string | undefined;
  #events: EventDraft[] = [];

  constructor(facts: SessionFacts) {
    this.#facts = facts;
  }

  get waiting(): number {
    return this.#queue.length - this.#first;
  }

  fromClient(bytes: Buffer): string | undefined {
    return this.#requests.feed(bytes);
  }

  fromServer(bytes: Buffer): string | undefined {
    return this.#answers.feed(bytes);
  }

  take(): EventDraft[] {
    const taken = this.#events;
    if (taken.length > 0) this.#events = [];
    return taken;
  }

  end(): EventDraft[] {
    const unanswered = 'the session ended before the answer';
    for (const waiting of this.#queue.slice(this.#first)) this.#done(waiting, unanswered);
    this.#queue = [];
    this.#first = 0;
    for (const place of this.#open.values()) this.#closed(place, 'the session ended before it was closed');
    this.#open.clear();
    return this.take();
  }

  #asked(type: number, body: Buffer, length: number): string | undefined {
    const parsed = parseRequest(type, body, length);
    if (typeof parsed === 'string') return parsed;
    const { id, request } = parsed;
    if ((request.kind === 'init') === this.#greeted) return 'a greeting is what comes first, and once';
    this.#greeted = true;
    this.#queue.push({ id, request: ownBytes(request) });
    return undefined;
  }

  #answered(type: number, body: Buffer, length: number): string | undefined {
    const parsed = parseAnswer(type, body, length);
    if (typeof parsed === 'string') return parsed;
    const waiting = this.#next();
    if (!waiting) return 'an answer nobody asked for';
    const { answer, id } = parsed;
    if (waiting.request.kind === 'init') return answer.kind === 'version' ? undefined : 'no greeting';
    if (id !== waiting.id) return 'an answer out of order';
    return this.#pair(waiting, answer);
  }

  #next(): Waiting | undefined {
    const next = this.#queue[this.#first];
    if (!next) return undefined;
    this.#first += 1;
    if (this.#first === this.#queue.length || this.#first > 1024) {
      this.#queue = this.#queue.slice(this.#first);
      this.#first = 0;
    }
    return next;
  }

  /** Returns what is wrong with the pair. */
  #pair(waiting: Waiting, answer: SftpAnswer): string | undefined {
    const { request } = waiting;
    if (answer.kind === 'status') {
      this.#status(waiting, answer.code, answer.message);
      return undefined;
    }
    switch (request.kind) {
      case 'open':
      case 'opendir':
        return answer.kind === 'handle' ? this.#opened(waiting, answer.handle) : 'no handle for an open';
      case 'read':
        if (answer.kind !== 'data') return 'no data for a read';
        this.#count(request, answer.bytes, 0);
        return undefined;
      case 'readdir':
        if (answer.kind !== 'name') return 'no names for a folder';
        this.#listed(waiting);
        return undefined;
      case 'realpath':
        if (answer.kind !== 'name') return 'no name for a path';
        if (['', '.'].includes(request.path.toString())) this.#workingDirectory ??= answer.first.toString();
        return undefined;
      case 'ask':
        return undefined;
      default:
        return `no status for ${request.kind}`;
    }
  }

  /**
   * Asked when the answer comes, not the question: by then all that was asked before has been answered here as it was
   * there, so that a client which guesses the handle it is about to be given hides nothing.
   */
  #placeOf(request: SftpRequest): OpenPlace | undefined {
    return 'handle' in request ? this.#open.get(request.handle) : undefined;
  }

  #count(request: SftpRequest, read: number, written: number): void {
    const place = this.#placeOf(request);
    if (!place) return;
    place.read += read;
    place.written += written;
  }

  #opened(waiting: Waiting, handle: string): string | undefined {
    const { request } = waiting;
    if (!('path' in request)) return 'no path was opened';
    if (this.#open.has(handle) || this.#open.size >= MAX_OPEN) return 'a handle that cannot be';
    const folder = request.kind === 'opendir';
    this.#open.set(handle, { path: request.path, folder, read: 0, written: 0, listed: false });
    this.#done(waiting, undefined);
    return undefined;
  }

  #listed(waiting: Waiting): void {
    const place = this.#placeOf(waiting.request);
    if (!place || place.listed) return;
    place.listed = true;
    this.#done(waiting, undefined);
  }

  #status(waiting: Waiting, code: number, message: string): void {
    const { request } = waiting;
    const error = code === Status.ok ? undefined : message || `status ${code}`;
    switch (request.kind) {
      case 'read':
      case 'ask':
        return;
      case 'write':
        if (error === undefined) this.#count(request, 0, request.bytes);
        return;
      case 'copy':
        if (error === undefined) this.#copied(request);
        return;
      case 'readdir':
        if (code === Status.eof)
          this.#listed(waiting); // an empty answer is an answer: there was nothing in it
        else this.#done(waiting, error);
        return;
      case 'close': {
        const place = this.#placeOf(request);
        this.#open.delete(request.handle);
        if (place) this.#closed(place, error);
        return;
      }
      default:
        this.#done(waiting, error);
    }
  }

  /** 0: to the end of the file, of which nobody says how far that was. */
  #copied({ from, to, bytes }: Extract<SftpRequest, { kind: 'copy' }>): void {
    const source = this.#open.get(from);
    const sink = this.#open.get(to);
    if (source) source.read += bytes;
    if (sink) sink.written += bytes;
  }

  #closed(place: OpenPlace, error: string | undefined): void {
    if (place.folder) return;
    const totals = { bytes_read: place.read, bytes_written: place.written };
    this.#emit('close', { ...subjectOf(place.path), ...totals }, error);
  }

  /** The event of a request, if it is one that has one. */
  #done({ request }: Waiting, error: string | undefined): void {
    const place = this.#placeOf(request);
    switch (request.kind) {
      case 'open':
        this.#emit(
          'open',
          { ...subjectOf(request.path, undefined, creating(request)), flags: request.flags },
          error,
        );
        return;
      case 'setstat':
      case 'mkdir':
        this.#emit(request.kind, subjectOf(request.path, undefined, request.attributes), error);
        return;
      case 'fsetstat':
        if (place) this.#emit('setstat', subjectOf(place.path, undefined, request.attributes), error);
        return;
      case 'readdir':
        if (place) this.#emit('readdir', subjectOf(place.path), error);
        return;
      case 'opendir':
      case 'remove':
      case 'rmdir':
        this.#emit(request.kind, subjectOf(request.path), error);
        return;
      case 'rename':
      case 'symlink':
      case 'link':
        this.#emit(request.kind, subjectOf(request.path, request.target), error);
        return;
    }
  }

  #emit(action: SftpAction, subject: object, error: string | undefined): void {
    const where = this.#workingDirectory === undefined ? {} : { working_directory: this.#workingDirectory };
    this.#events.push(sftpEvent(this.#facts, action, { ...subject, ...where }, error));
  }
}

/** Attributes of an open mean something only where a file is made. */
function creating({ flags, attributes }: Extract<SftpRequest, { kind: 'open' }>) {
  return flags & OpenFlag.create ? attributes : {};
}

/** A view is of a chunk that goes on its way; what is remembered of it is ours. */
function ownBytes(request: SftpRequest): SftpRequest {
  if (!('path' in request)) return request;
  const path = Buffer.from(request.path);
  return 'target' in request
    ? { ...request, path, target: Buffer.from(request.target) }
    : { ...request, path };
}
