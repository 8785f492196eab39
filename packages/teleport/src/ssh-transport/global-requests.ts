// Global requests of one connection, both ways (RFC 4254 section 4). Answers carry no number: they belong to the
// requests in the order these were sent, so ours are kept in a queue, and the peer's are answered one at a time.
import type { GlobalAnswer, GlobalRequest } from './connection.ts';
import { Message } from './message.ts';
import type { PacketLink } from './packet-link.ts';
import { encode, type WireReader } from './wire.ts';

/** Requests of the peer behind the one being answered. */
const MAX_WAITING = 64;
const EMPTY = Buffer.alloc(0);

type Answerer = (request: GlobalRequest) => GlobalAnswer | Promise<GlobalAnswer>;

/** The payload of the success; undefined on failure, and when the connection ended first. */
type Answered = (payload: Buffer | undefined) => void;

export class GlobalRequests {
  readonly #link: PacketLink;
  readonly #answer: Answerer;
  #asked: Answered[] = [];
  #waiting: GlobalRequest[] = [];
  #busy = false;

  constructor(link: PacketLink, answer: Answerer) {
    this.#link = link;
    this.#answer = answer;
  }

  /** `answered` runs before the peer's next message is looked at. */
  ask(name: string, payload: Buffer, answered: Answered): void {
    if (!this.#link.alive) {
      answered(undefined);
      return;
    }
    this.#asked.push(answered);
    this.#link.send(encode({ byte: Message.globalRequest }, name, true), payload);
  }

  /** Any peer answers this one, one way or the other: OpenSSH's own name. */
  ping(answered: Answered = () => {}): void {
    this.ask('keepalive@openssh.com', EMPTY, answered);
  }

  /** A reply. Returns what is wrong with it. */
  replied(ok: boolean, fields: WireReader): string | undefined {
    const answered = this.#asked.shift();
    if (!answered) return 'answer to no global request';
    answered(ok ? Buffer.from(fields.rest()) : undefined);
    return undefined;
  }

  /** A request of the peer. Returns what is wrong with it. */
  received(fields: WireReader): string | undefined {
    const name = fields.text();
    const wantReply = fields.boolean();
    if (!fields.ok) return 'malformed global request';
    if (this.#waiting.length >= MAX_WAITING) return 'too many global requests at once';
    this.#waiting.push({ name, wantReply, payload: Buffer.from(fields.rest()) });
    this.#next();
    return undefined;
  }

  lost(): void {
    this.#waiting = [];
    for (const answered of this.#asked.splice(0)) answered(undefined);
  }

  #next(): void {
    while (!this.#busy) {
      const request = this.#waiting.shift();
      if (!request) return;
      const answer = this.#ask(request);
      if (!(answer instanceof Promise)) {
        this.#reply(request, answer);
        continue;
      }
      this.#busy = true;
      answer
        .catch(() => false)
        .then((eventual) => {
          this.#busy = false;
          this.#reply(request, eventual);
          this.#next();
        });
    }
  }

  #ask(request: GlobalRequest): GlobalAnswer | Promise<GlobalAnswer> {
    try {
      return this.#answer(request);
    } catch {
      return false;
    }
  }

  #reply(request: GlobalRequest, answer: GlobalAnswer): void {
    if (!request.wantReply) return;
    if (answer === false) this.#link.send(encode({ byte: Message.requestFailure }));
    else this.#link.send(encode({ byte: Message.requestSuccess }), answer === true ? EMPTY : answer);
  }
}
