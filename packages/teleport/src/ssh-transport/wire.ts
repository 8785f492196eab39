// SSH's data types (RFC 4251 section 5). The reader never throws: a read past the end gives an empty value and
// leaves `ok` false for good, so a parser reads all its fields and asks once.

const EMPTY = Buffer.alloc(0);

export class WireReader {
  readonly #bytes: Buffer;
  #at: number;
  #ok = true;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  /** False once a field was cut short. */
  get ok(): boolean {
    return this.#ok;
  }

  /** Everything read, nothing left over, nothing cut short. */
  get done(): boolean {
    return this.#ok && this.#at === this.#bytes.length;
  }

  get position(): number {
    return this.#at;
  }

  #take(length: number): number | undefined {
    const from = this.#at;
    if (!this.#ok || this.#bytes.length - from < length) {
      this.#ok = false;
      return undefined;
    }
    this.#at = from + length;
    return from;
  }

  byte(): number {
    const at = this.#take(1);
    return at === undefined ? 0 : this.#bytes.readUInt8(at);
  }

  boolean(): boolean {
    return this.byte() !== 0;
  }

  uint32(): number {
    const at = this.#take(4);
    return at === undefined ? 0 : this.#bytes.readUInt32BE(at);
  }

  /** A view, not a copy. */
  string(): Buffer {
    const length = this.uint32();
    const at = this.#take(length);
    return at === undefined ? EMPTY : this.#bytes.subarray(at, at + length);
  }

  /** UTF-8; invalid sequences read as U+FFFD. */
  text(): string {
    return this.string().toString('utf8');
  }

  rest(): Buffer {
    const from = this.#at;
    this.#at = this.#bytes.length;
    return this.#ok ? this.#bytes.subarray(from) : EMPTY;
  }
}

export type Field = { readonly byte: number } | { readonly uint32: number } | boolean | string | Buffer;

function sizeOf(field: Field): number {
  if (typeof field === 'boolean') return 1;
  if (typeof field === 'string') return 4 + Buffer.byteLength(field);
  if (Buffer.isBuffer(field)) return 4 + field.length;
  return 'byte' in field ? 1 : 4;
}

/** Numbers as `{ byte }` or `{ uint32 }`; text and buffers become strings with their length in front. */
export function encode(...fields: readonly Field[]): Buffer {
  const out = Buffer.allocUnsafe(fields.reduce((sum, field) => sum + sizeOf(field), 0));
  let at = 0;
  for (const field of fields) {
    if (typeof field === 'boolean') at = out.writeUInt8(field ? 1 : 0, at);
    else if (typeof field === 'string') {
      at = out.writeUInt32BE(Buffer.byteLength(field), at);
      at += out.write(field, at);
    } else if (Buffer.isBuffer(field)) {
      at = out.writeUInt32BE(field.length, at);
      at += field.copy(out, at);
    } else if ('byte' in field) at = out.writeUInt8(field.byte, at);
    else at = out.writeUInt32BE(field.uint32, at);
  }
  return out;
}

/** RFC 4251 mpint to the fixed width `length`; undefined when negative or too large. */
export function fixedWidth(mpint: Buffer, length: number): Buffer | undefined {
  if ((mpint[0] ?? 0) & 0x80) return undefined;
  let from = 0;
  while (from < mpint.length && mpint[from] === 0) from++;
  const digits = mpint.subarray(from);
  if (digits.length > length) return undefined;
  return Buffer.concat([Buffer.alloc(length - digits.length), digits]);
}

/** An unsigned big-endian number as an mpint: no leading zeros, but one where the top bit is set. */
export function toMpint(unsigned: Buffer): Buffer {
  let from = 0;
  while (from < unsigned.length && unsigned[from] === 0) from++;
  const digits = unsigned.subarray(from);
  return (digits[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.alloc(1), digits]) : digits;
}
