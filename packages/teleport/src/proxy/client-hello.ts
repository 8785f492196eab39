// What a TLS client says before anything is encrypted: enough of RFC 8446 section 4.1.2 to route a connection by ALPN
// or server name, and nothing else. Works on whatever pieces the network delivers; never throws, never grows past
// its bound, and reads each byte once.

export interface ClientHello {
  /** Server Name Indication (RFC 6066 section 3), lower case. Absent for clients that dial an address. */
  readonly serverName: string | undefined;
  /** Application protocols in the client's order of preference (RFC 7301). */
  readonly protocols: readonly string[];
}

export type HelloVerdict =
  | { readonly state: 'more' }
  | { readonly state: 'hello'; readonly hello: ClientHello }
  /** `plainHttp`: somebody typed http:// where https:// belongs. */
  | { readonly state: 'invalid'; readonly reason: string; readonly plainHttp: boolean };

// A hello with post-quantum key shares takes 1.5 to 2 KiB; those of browsers under test of new ciphers about 4.
const maxHelloBytes = 16_384;
const recordHeader = 5;
const handshakeHeader = 4;
const handshakeRecord = 22;
const clientHelloMessage = 1;
const serverNameExtension = 0;
const protocolsExtension = 16;

const more: HelloVerdict = { state: 'more' };
const invalid = (reason: string, plainHttp = false): HelloVerdict => ({
  state: 'invalid',
  reason,
  plainHttp,
});

/** Feed it chunks until it no longer answers `more`. */
export class ClientHelloReader {
  /** Everything received, record headers included: what has to be handed on. */
  readonly #chunks: Buffer[] = [];
  /** The handshake message, collected from as many records as the client cut it into. */
  readonly #body: Buffer[] = [];
  #bodyBytes = 0;
  /** Of the message with its header; known once its first four bytes are here. */
  #wanted = Number.POSITIVE_INFINITY;
  #header = Buffer.alloc(0);
  /** Bytes of the current record still to come. */
  #recordLeft = 0;
  #bytes = 0;

  /** Bytes so far. */
  get received(): readonly Buffer[] {
    return this.#chunks;
  }

  push(chunk: Buffer): HelloVerdict {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    for (let at = 0; at < chunk.length; ) {
      if (this.#recordLeft === 0) {
        const taken = recordHeader - this.#header.length;
        this.#header = Buffer.concat([this.#header, chunk.subarray(at, at + taken)]);
        at += taken;
        const problem = this.#readHeader();
        if (problem !== undefined) return problem;
        continue;
      }
      const piece = chunk.subarray(at, at + this.#recordLeft);
      at += piece.length;
      this.#recordLeft -= piece.length;
      const verdict = this.#collect(piece);
      if (verdict.state !== 'more') return verdict;
    }
    // Records of one byte each would carry five bytes of header for each of the message.
    return this.#bytes > 2 * maxHelloBytes ? invalid('the ClientHello is too long') : more;
  }

  #readHeader(): HelloVerdict | undefined {
    const [type, major] = this.#header;
    if (type !== handshakeRecord) return notTls(this.#header);
    if (major !== undefined && major !== 3) return invalid('not TLS');
    if (this.#header.length < recordHeader) return undefined;
    const length = this.#header.readUInt16BE(3);
    if (length === 0 || length > 16_384) return invalid('a TLS record of an impossible length');
    this.#recordLeft = length;
    this.#header = Buffer.alloc(0);
    return undefined;
  }

  #collect(piece: Buffer): HelloVerdict {
    this.#body.push(piece);
    this.#bodyBytes += piece.length;
    if (this.#bodyBytes < handshakeHeader) return more;
    if (this.#wanted === Number.POSITIVE_INFINITY) {
      const head = Buffer.concat(this.#body);
      if (head[0] !== clientHelloMessage) return invalid('the first message is no ClientHello');
      this.#wanted = handshakeHeader + head.readUIntBE(1, 3);
      if (this.#wanted > maxHelloBytes) return invalid('the ClientHello is too long');
    }
    if (this.#bodyBytes < this.#wanted) return more;
    const hello = readHello(Buffer.concat(this.#body).subarray(handshakeHeader, this.#wanted));
    return hello === undefined ? invalid('the ClientHello is malformed') : { state: 'hello', hello };
  }
}

function notTls(header: Buffer): HelloVerdict {
  const letter = header[0] ?? 0;
  const plainHttp = letter >= 0x41 && letter <= 0x5a && header.toString('latin1') !== 'SSH-2';
  return invalid(plainHttp ? 'plain HTTP on a TLS port' : 'not TLS', plainHttp);
}

/** A view that says `undefined` instead of reading past its end. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  number(size: 1 | 2): number | undefined {
    if (this.left < size) return undefined;
    const value = this.#bytes.readUIntBE(this.#at, size);
    this.#at += size;
    return value;
  }

  bytes(length: number | undefined): Buffer | undefined {
    if (length === undefined || length > this.left) return undefined;
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** What a length of `size` bytes stands before. */
  vector(size: 1 | 2): Buffer | undefined {
    return this.bytes(this.number(size));
  }
}

function readHello(body: Buffer): ClientHello | undefined {
  const fields = new Fields(body);
  const fixed =
    fields.bytes(2 + 32) && // legacy_version, random
    fields.vector(1) && // legacy_session_id
    fields.vector(2) && // cipher_suites
    fields.vector(1); // legacy_compression_methods
  if (fixed === undefined) return undefined;
  if (fields.left === 0) return { serverName: undefined, protocols: [] };
  const extensions = fields.vector(2);
  return extensions === undefined || fields.left > 0 ? undefined : readExtensions(new Fields(extensions));
}

function readExtensions(fields: Fields): ClientHello | undefined {
  let serverName: string | undefined;
  let protocols: string[] | undefined;
  const seen = new Set<number>();
  while (fields.left > 0) {
    const type = fields.number(2);
    const data = fields.vector(2);
    // A repeated extension is an error (RFC 8446 section 4.2); believing the first or the last of two is how a router
    // and the server behind it come to disagree.
    if (type === undefined || data === undefined || seen.has(type)) return undefined;
    seen.add(type);
    if (type === serverNameExtension) {
      const names = readServerName(data);
      if (names === undefined) return undefined;
      serverName = names;
    } else if (type === protocolsExtension) {
      protocols = readProtocols(data);
      if (protocols === undefined) return undefined;
    }
  }
  return { serverName, protocols: protocols ?? [] };
}

function readServerName(data: Buffer): string | undefined {
  const outer = new Fields(data);
  const list = outer.vector(2);
  if (list === undefined || outer.left > 0) return undefined;
  const entry = new Fields(list);
  if (entry.number(1) !== 0) return undefined; // host_name, the only type there is
  const name = entry.vector(2)?.toString('latin1').toLowerCase();
  return name !== undefined && /^[a-z0-9_.-]{1,255}$/.test(name) ? name : undefined;
}

function readProtocols(data: Buffer): string[] | undefined {
  const outer = new Fields(data);
  const list = outer.vector(2);
  if (list === undefined || outer.left > 0) return undefined;
  const fields = new Fields(list);
  const protocols: string[] = [];
  while (fields.left > 0) {
    const name = fields.vector(1);
    if (name === undefined || name.length === 0) return undefined;
    protocols.push(name.toString('latin1'));
  }
  return protocols.length === 0 ? undefined : protocols;
}
