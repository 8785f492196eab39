// An SFTP client over one session: asks, and pairs the answers by their number, as many under way as the caller likes.
// Answers are a server's: bounded, and a stream that is not SFTP ends it.
import type { Readable } from 'node:stream';
import { AppError, type ErrorKind } from '@sallyport/contracts/errors.ts';
import type { ChannelWriter } from '../session-channel.ts';
import { encode, type Field, WireReader } from '../wire.ts';
import {
  type FileAttributes,
  readAttributes,
  readUint64,
  writeAttributes,
  writeUint64,
} from './attributes.ts';
import { PacketFramer } from './packet-framer.ts';
import { Packet, SFTP_VERSION, Status } from './protocol.ts';

/** What a client needs of its session. */
export interface SftpStreams {
  readonly stdin: ChannelWriter;
  readonly stdout: Readable;
}

export interface NamedFile {
  /** One name, not a path: whatever else a server says is not handed on. */
  readonly name: string;
  readonly attributes: FileAttributes;
}

interface Answer {
  readonly type: number;
  /** Behind the id. Its own memory. */
  readonly body: Buffer;
}

/** Servers without limits@openssh.com take this much; it is what the draft demands. */
const SAFE_DATA_BYTES = 32 * 1024;
/** What an answer that is no data needs at most of what we read at once. */
const MAX_DATA_BYTES = 255 * 1024;

const kinds: Readonly<Record<number, ErrorKind>> = {
  [Status.noSuchFile]: 'not_found',
  [Status.permissionDenied]: 'denied',
  [Status.unsupported]: 'unsupported',
};

export class SftpClient {
  /** Bytes that one read or write may ask for. */
  dataBytes = SAFE_DATA_BYTES;
  readonly extensions = new Set<string>();
  readonly #stdin: ChannelWriter;
  readonly #waiting = new Map<number, PromiseWithResolvers<Answer>>();
  readonly #greeting = Promise.withResolvers<void>();
  #lastId = 0;
  #ended: AppError | undefined;

  /** Rejects when the server does not greet, or in an older version. */
  static async open(streams: SftpStreams): Promise<SftpClient> {
    const client = new SftpClient(streams);
    client.#send(Packet.init, encode({ uint32: SFTP_VERSION }));
    await client.#greeting.promise;
    await client.#askLimits();
    // Not needed here: it is what makes whoever reads along know where relative paths begin.
    await client.realpath('.');
    return client;
  }

  private constructor({ stdin, stdout }: SftpStreams) {
    this.#stdin = stdin;
    this.#greeting.promise.catch(() => {});
    const framer = new PacketFramer({
      wants: () => Number.POSITIVE_INFINITY,
      packet: (type, body) => this.#heard(type, body),
    });
    stdout.on('data', (chunk: Buffer) => {
      const wrong = framer.feed(chunk);
      if (wrong !== undefined)
        this.#end(new AppError('unavailable', 'sftp.protocol', `The server sent ${wrong}.`));
    });
    const over = () =>
      this.#end(new AppError('unavailable', 'sftp.ended', 'The connection ended before the transfer did.'));
    stdout.on('end', over).on('close', over).on('error', over);
  }

  // ── files ───────────────────────────────────────────────────────────────────────────────────────────────────

  async open(path: string, flags: number, attributes: FileAttributes = {}): Promise<Buffer> {
    const head = encode(path, { uint32: flags });
    return this.#handle(await this.#ask(Packet.open, head, writeAttributes(attributes)));
  }

  close(handle: Buffer): Promise<void> {
    return this.#done(Packet.close, encode(handle));
  }

  /** Empty at the end of the file; fewer bytes than asked for say nothing. */
  async read(handle: Buffer, offset: number, length: number): Promise<Buffer> {
    const size = encode({ uint32: Math.min(length, this.dataBytes) });
    const answer = await this.#ask(Packet.read, encode(handle), writeUint64(offset), size);
    if (answer.type === Packet.data) return new WireReader(answer.body).string();
    this.#check(answer, Status.eof);
    return Buffer.alloc(0);
  }

  /** `bytes` must not be changed until this resolves. */
  write(handle: Buffer, offset: number, bytes: Buffer): Promise<void> {
    const head = Buffer.concat([encode(handle), writeUint64(offset), encode({ uint32: bytes.length })]);
    return this.#done(Packet.write, head, bytes);
  }

  fsetstat(handle: Buffer, attributes: FileAttributes): Promise<void> {
    return this.#done(Packet.fsetstat, encode(handle), writeAttributes(attributes));
  }

  // ── paths ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** undefined: there is nothing of that name. */
  async stat(path: string): Promise<FileAttributes | undefined> {
    const answer = await this.#ask(Packet.stat, encode(path));
    if (answer.type === Packet.attrs) return readAttributes(new WireReader(answer.body));
    this.#check(answer, Status.noSuchFile);
    return undefined;
  }

  setstat(path: string, attributes: FileAttributes): Promise<void> {
    return this.#done(Packet.setstat, encode(path), writeAttributes(attributes));
  }

  mkdir(path: string, attributes: FileAttributes): Promise<void> {
    return this.#done(Packet.mkdir, encode(path), writeAttributes(attributes));
  }

  /** `~` and `~name`, where the server knows them; a path as it is where it does not. */
  async expand(path: string): Promise<string> {
    if (!path.startsWith('~')) return path;
    if (!this.extensions.has('expand-path@openssh.com')) return path.replace(/^~\/?/, '') || '.';
    const answer = await this.#ask(Packet.extended, encode('expand-path@openssh.com', path));
    const reader = this.#reader(answer, Packet.name);
    reader.uint32();
    return reader.text();
  }

  async realpath(path: string): Promise<string> {
    const reader = this.#reader(await this.#ask(Packet.realpath, encode(path)), Packet.name);
    reader.uint32();
    return reader.text();
  }

  /** Without `.` and `..`. */
  async list(path: string): Promise<NamedFile[]> {
    const handle = this.#handle(await this.#ask(Packet.opendir, encode(path)));
    const found: NamedFile[] = [];
    try {
      for (;;) {
        const answer = await this.#ask(Packet.readdir, encode(handle));
        if (answer.type === Packet.status) {
          this.#check(answer, Status.eof);
          return found;
        }
        for (const file of readNames(this.#reader(answer, Packet.name))) found.push(file);
      }
    } finally {
      await this.close(handle).catch(() => {});
    }
  }

  // ── the wire ────────────────────────────────────────────────────────────────────────────────────────────────

  async #askLimits(): Promise<void> {
    if (!this.extensions.has('limits@openssh.com')) return;
    const reader = this.#reader(
      await this.#ask(Packet.extended, encode('limits@openssh.com')),
      Packet.extendedReply,
    );
    const [, read = 0, write = 0] = [readUint64(reader), readUint64(reader), readUint64(reader)];
    if (reader.ok && read > 0 && write > 0) this.dataBytes = Math.min(read, write, MAX_DATA_BYTES);
  }

  #ask(type: number, ...parts: readonly Buffer[]): Promise<Answer> {
    if (this.#ended) return Promise.reject(this.#ended);
    this.#lastId = (this.#lastId + 1) % 2 ** 32;
    const waiting = Promise.withResolvers<Answer>();
    this.#waiting.set(this.#lastId, waiting);
    this.#send(type, encode({ uint32: this.#lastId }), ...parts);
    return waiting.promise;
  }

  /** The bytes of a file go as they are; all else in one piece. */
  #send(type: number, ...parts: readonly Buffer[]): void {
    const length = parts.reduce((sum, part) => sum + part.length, 1);
    const last = parts.at(-1);
    const bulk = last && last.length >= SAFE_DATA_BYTES ? last : undefined;
    const head: Field[] = [{ uint32: length }, { byte: type }];
    void this.#stdin.write(Buffer.concat([encode(...head), ...(bulk ? parts.slice(0, -1) : parts)]));
    if (bulk) void this.#stdin.write(bulk);
  }

  #heard(type: number, body: Buffer): string | undefined {
    if (type === Packet.version) return this.#greeted(new WireReader(body));
    const id = new WireReader(body).uint32();
    const waiting = this.#waiting.get(id);
    if (!waiting || body.length < 4) return 'an answer to nothing';
    this.#waiting.delete(id);
    waiting.resolve({ type, body: Buffer.from(body.subarray(4)) });
    return undefined;
  }

  #greeted(reader: WireReader): string | undefined {
    if (reader.uint32() < SFTP_VERSION) return 'an older version of SFTP';
    while (reader.ok && !reader.done) {
      const name = reader.text();
      reader.string();
      if (reader.ok) this.extensions.add(name);
    }
    this.#greeting.resolve();
    return undefined;
  }

  #end(error: AppError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#greeting.reject(error);
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }

  #reader(answer: Answer, type: number): WireReader {
    if (answer.type !== type) this.#check(answer, Status.ok);
    if (answer.type !== type) throw unexpected();
    return new WireReader(answer.body);
  }

  #handle(answer: Answer): Buffer {
    return this.#reader(answer, Packet.handle).string();
  }

  async #done(type: number, ...parts: readonly Buffer[]): Promise<void> {
    this.#check(await this.#ask(type, ...parts), Status.ok);
  }

  /** Throws unless it is this status. */
  #check(answer: Answer, status: number): void {
    if (answer.type !== Packet.status) throw unexpected();
    const reader = new WireReader(answer.body);
    const code = reader.uint32();
    if (code === status) return;
    const message = reader.text().replaceAll(/\p{Cc}/gu, '?');
    throw new AppError(kinds[code] ?? 'unavailable', 'sftp.refused', message || `status ${code}`);
  }
}

function unexpected(): AppError {
  return new AppError('unavailable', 'sftp.protocol', 'The server answered something else than was asked.');
}

function* readNames(reader: WireReader): Generator<NamedFile> {
  for (let left = reader.uint32(); left > 0; left--) {
    const name = reader.text();
    reader.string(); // the line of `ls -l`
    const attributes = readAttributes(reader);
    if (!reader.ok) throw unexpected();
    // A server that says `../../.bashrc` would have us write there.
    if (name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name)) yield { name, attributes };
  }
}
