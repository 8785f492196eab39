// What two daemons of one host say to each other about a joiner, over a socket only root can reach. A frame: kind (1
// byte), length of what follows (4 bytes, big-endian), payload.
import type { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';

export const frameKinds = {
  /** From the daemon that has the connection, first: JSON, who wants to join what. */
  hello: 0,
  /** The answer: one byte, 1 when the session lives here. Nothing follows a 0. */
  found: 1,
  stdout: 2,
  stderr: 3,
  /** Exit status, 4 bytes. */
  exit: 4,
  stdin: 5,
  /** Asks for a sign of life of the joiner's connection. */
  ping: 6,
  pong: 7,
  /** Text: why the joiner was not let in. */
  refused: 8,
} as const;

export interface Frame {
  readonly kind: number;
  readonly payload: Buffer;
}

const headBytes = 5;
/** Far above what a terminal gives at a time. */
const maxPayload = 4 * 1024 * 1024;

/** Resolves when the other side keeps up; false when it is gone. */
export async function sendFrame(
  stream: Duplex,
  kind: number,
  payload: Buffer = Buffer.alloc(0),
): Promise<boolean> {
  if (!stream.writable) return false;
  const head = Buffer.alloc(headBytes);
  head.writeUInt8(kind);
  head.writeUInt32BE(payload.length, 1);
  stream.cork();
  stream.write(head);
  const room = payload.length === 0 || stream.write(payload);
  stream.uncork();
  if (!room) await drained(stream);
  return stream.writable;
}

function drained(stream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.once('drain', done).once('close', done);
  });
}

/** Ends with the stream, however that ends. */
export async function* framesOf(stream: Duplex): AsyncGenerator<Frame, void> {
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const bytes of stream as AsyncIterable<Buffer>) {
      rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
      while (rest.length >= headBytes) {
        const length = rest.readUInt32BE(1);
        if (length > maxPayload) throw tooLong();
        if (rest.length < headBytes + length) break;
        yield { kind: rest.readUInt8(), payload: rest.subarray(headBytes, headBytes + length) };
        rest = rest.subarray(headBytes + length);
      }
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    // The other daemon died: an end like any other.
  }
}

function tooLong(): AppError {
  return new AppError(
    'internal',
    'sharing.bad_frame',
    'Another daemon of this host sent a frame that is too long.',
  );
}
