// Two streams become one connection: a tunnel's inside and its outside.
import type { Duplex } from 'node:stream';

/** When one side is gone, how long the other may take to swallow what it was still sent. */
const FLUSH_MS = 10_000;

/**
 * Copies both ways, with back-pressure, until both are closed; then resolves. End of input on one side becomes end of
 * output on the other, which may go on sending. When one side closes altogether, the other is ended and closed once
 * its pending output has left (node's `pipeline` would cut that off). Errors end the connection like a close. Make sockets with
 * `allowHalfOpen: true`: without it node ends their output when their input ends.
 */
export async function joinStreams(left: Duplex, right: Duplex): Promise<void> {
  await Promise.all([copy(left, right), copy(right, left)]);
}

function copy(from: Duplex, to: Duplex): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const gone = () => {
    dismiss(to);
    resolve();
  };
  from.on('error', () => {});
  if (from.closed || from.destroyed) gone();
  else {
    from.once('close', gone);
    from.pipe(to);
  }
  return promise;
}

function dismiss(stream: Duplex): void {
  if (stream.destroyed) return;
  const timer = setTimeout(() => stream.destroy(), FLUSH_MS).unref();
  stream.once('close', () => clearTimeout(timer));
  // What it still says has no listener; unread, it would keep the stream from ever closing.
  stream.resume();
  if (stream.writableFinished) stream.destroy();
  else stream.once('finish', () => stream.destroy());
  if (!stream.writableEnded) stream.end();
}
