// Arrays as parameters in PostgreSQL's binary form. The text form would escape every quote of every JSON line, and
// the server would undo it: this is several times cheaper on both ends.
//
//   int32 dimensions (1) | int32 has nulls | int32 element's type | int32 length | int32 lower bound (1)
//   then each element: int32 bytes (-1: NULL) | bytes           (src/backend/utils/adt/arrayfuncs.c, array_recv)

const headerBytes = 20;
const nullLength = -1;
/** Object ids of built-in types never change (pg_type.dat). */
const oid = { bool: 16, int8: 20, int4: 23, text: 25, uuid: 2950 } as const;

export function textArray(values: readonly (string | null)[]): Buffer {
  let bytes = headerBytes + 4 * values.length;
  for (const value of values) if (value !== null) bytes += Buffer.byteLength(value);
  const buffer = Buffer.allocUnsafe(bytes);
  let at = header(buffer, values, oid.text);
  for (const value of values) {
    const written = value === null ? nullLength : buffer.write(value, at + 4);
    buffer.writeInt32BE(written, at);
    at += 4 + Math.max(0, written);
  }
  return buffer;
}

export function int8Array(values: readonly (number | null)[]): Buffer {
  const buffer = Buffer.alloc(headerBytes + 12 * values.length);
  let at = header(buffer, values, oid.int8);
  for (const value of values) {
    buffer.writeInt32BE(value === null ? nullLength : 8, at);
    at += 4;
    if (value === null) continue;
    buffer.writeBigInt64BE(BigInt(value), at);
    at += 8;
  }
  return buffer.subarray(0, at);
}

export function int4Array(values: readonly number[]): Buffer {
  const buffer = Buffer.allocUnsafe(headerBytes + 8 * values.length);
  let at = header(buffer, values, oid.int4);
  for (const value of values) {
    buffer.writeInt32BE(4, at);
    buffer.writeInt32BE(value, at + 4);
    at += 8;
  }
  return buffer;
}

/** `values`: 36 characters each. */
export function uuidArray(values: readonly string[]): Buffer {
  const buffer = Buffer.allocUnsafe(headerBytes + 20 * values.length);
  let at = header(buffer, values, oid.uuid);
  for (const value of values) {
    buffer.writeInt32BE(16, at);
    buffer.write(value.replaceAll('-', ''), at + 4, 'hex');
    at += 20;
  }
  return buffer;
}

function header(buffer: Buffer, values: readonly unknown[], type: number): number {
  if (values.length === 0) throw new RangeError('an array of nothing has another form');
  buffer.writeInt32BE(1, 0);
  buffer.writeInt32BE(values.includes(null) ? 1 : 0, 4);
  buffer.writeInt32BE(type, 8);
  buffer.writeInt32BE(values.length, 12);
  buffer.writeInt32BE(1, 16);
  return headerBytes;
}
