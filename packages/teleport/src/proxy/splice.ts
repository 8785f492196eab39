// Joins two byte streams. What one side does not take, the other is not asked for: memory stays at the streams' own
// buffers, however far apart their speeds are.
import type { Duplex } from 'node:stream';

export interface SpliceResult {
  readonly bytesAToB: number;
  readonly bytesBToA: number;
  /** `ended`: both directions came to their end. `idle`: nothing moved for too long. */
  readonly reason: 'ended' | 'closed' | 'idle';
}

export interface SpliceOptions {
  /** 0 = never. */
  readonly idleMs?: number;
  /** Called for each piece, from a to b or back. */
  readonly moved?: (bytes: number, direction: 'out' | 'in') => void;
}

/** How long the last bytes may take to leave towards a peer whose other half is gone. */
const lingerMs = 5_000;

/**
 * Both streams are the splice's from here on and destroyed when it resolves. Half-closes are passed on: an end of input
 * on one side ends the output of the other, and bytes may still flow back. Never rejects.
 */
export function splice(a: Duplex, b: Duplex, options: SpliceOptions = {}): Promise<SpliceResult> {
  const { promise, resolve } = Promise.withResolvers<SpliceResult>();
  const moved = { out: 0, in: 0 };
  let idle = false;
  let active = true;
  let open = 2;
  const pump = (from: Duplex, to: Duplex, direction: 'out' | 'in') => {
    from.on('data', (chunk: Buffer) => {
      active = true;
      moved[direction] += chunk.length;
      options.moved?.(chunk.length, direction);
      if (!to.destroyed && to.writable && !to.write(chunk)) from.pause();
    });
    // Explicitly: a stream that was paused before stays so whoever listens.
    from.resume();
    to.on('drain', () => from.resume());
    from.on('end', () => to.end());
    from.on('error', () => {}); // 'close' follows
    from.on('close', () => {
      letGo(to);
      if (--open === 0) finish();
    });
  };
  // A look every idleMs: what is idle ends after one to two of them, and a busy stream costs no timer per piece.
  const timer = options.idleMs ? setInterval(() => tick(), options.idleMs) : undefined;
  timer?.unref();
  const tick = () => {
    if (active) active = false;
    else {
      idle = true;
      a.destroy();
      b.destroy();
    }
  };
  const finish = () => {
    clearInterval(timer);
    const ended = a.readableEnded && b.readableEnded;
    resolve({
      bytesAToB: moved.out,
      bytesBToA: moved.in,
      reason: idle ? 'idle' : ended ? 'ended' : 'closed',
    });
  };
  pump(a, b, 'out');
  pump(b, a, 'in');
  // Whoever was destroyed before we came emits no further 'close'.
  for (const [stream, other] of [
    [a, b],
    [b, a],
  ] as const) {
    if (!stream.closed) continue;
    open--;
    letGo(other);
  }
  if (open === 0) finish();
  return promise;
}

/** The peer of a stream that is gone: what it was given still leaves, what it sends has nowhere to go. */
function letGo(stream: Duplex): void {
  if (stream.destroyed) return;
  if (stream.writableFinished) {
    stream.destroy();
    return;
  }
  stream.resume();
  stream.end();
  const timer = setTimeout(() => stream.destroy(), lingerMs);
  timer.unref();
  stream.once('finish', () => stream.destroy());
  stream.once('close', () => clearTimeout(timer));
}
