// SSH wire encoding (RFC 4251 §5): reading with strict bounds, writing into one buffer.
// Hostile bytes end in a BadWire, never in another exception and never in a large allocation: a field is a view.
import { AppError } from '@sallyport/contracts/errors.ts';

/** The bytes are not what the format says. Certificate and key parsing throw nothing else. */
export function badWire(message: string): AppError {
  return new AppError('bad_input', 'ca.bad_encoding', message);
}

// `fatal`: invalid UTF-8 must not turn into U+FFFD, or two names could compare equal that are not.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class WireReader {
  #offset = 0;
  readonly #bytes: Buffer;
  readonly #what: string;

  constructor(bytes: Buffer, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get offset(): number {
    return this.#offset;
  }

  get done(): boolean {
    return this.#offset === this.#bytes.length;
  }

  #take(length: number, field: string): Buffer {
    const end = this.#offset + length;
    if (end > this.#bytes.length) throw badWire(`${this.#what}: ${field} runs past the end`);
    const view = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return view;
  }

  u32(field: string): number {
    return this.#take(4, field).readUInt32BE(0);
  }

  u64(field: string): bigint {
    return this.#take(8, field).readBigUInt64BE(0);
  }

  raw(length: number, field: string): Buffer {
    return this.#take(length, field);
  }

  bytes(field: string): Buffer {
    return this.#take(this.u32(field), field);
  }

  /** Text that is valid UTF-8 and holds no NUL: C peers would see a shorter name than we do. */
  text(field: string): string {
    const bytes = this.bytes(field);
    if (bytes.includes(0)) throw badWire(`${this.#what}: ${field} holds a NUL byte`);
    try {
      return utf8.decode(bytes);
    } catch {
      throw badWire(`${this.#what}: ${field} is not UTF-8`);
    }
  }

  /** A non-negative mpint in its shortest form, without the sign byte. */
  mpint(field: string): Buffer {
    const bytes = this.bytes(field);
    if (bytes.length === 0) return bytes;
    if (((bytes[0] ?? 0) & 0x80) !== 0) throw badWire(`${this.#what}: ${field} is negative`);
    if (bytes[0] !== 0) return bytes;
    if (((bytes[1] ?? 0) & 0x80) === 0) throw badWire(`${this.#what}: ${field} is padded`);
    return bytes.subarray(1);
  }

  end(): void {
    if (!this.done) throw badWire(`${this.#what}: bytes are left over`);
  }
}

export function u32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeUInt32BE(value);
  return out;
}

export function u64(value: bigint): Buffer {
  const out = Buffer.allocUnsafe(8);
  out.writeBigUInt64BE(value);
  return out;
}

/** A string: u32 length and the bytes. */
export function str(value: Buffer | string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
  return Buffer.concat([u32(bytes.length), bytes]);
}

/** A non-negative integer given big-endian; adds the sign byte and drops leading zeros. */
export function mpint(value: Buffer): Buffer {
  let start = 0;
  while (start < value.length && value[start] === 0) start++;
  const digits = value.subarray(start);
  const signed = ((digits[0] ?? 0) & 0x80) !== 0;
  return str(signed ? Buffer.concat([Buffer.of(0), digits]) : digits);
}
