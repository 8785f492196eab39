// TLS for auth that comes in at the web port: taken to an auth server as it is. Mutual TLS holds end to end, so a node
// or tctl checks auth itself, and auth checks them.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Address } from '../config/config.ts';
import type { ProxyLog } from './proxy.ts';
import { splice } from './splice.ts';

export interface AuthRelayOptions {
  dialAuth(): Promise<Duplex>;
  /** What is said to auth before the client's first byte: whose connection it is. `undefined`: nothing. */
  preface(remote: Address): Promise<string | undefined>;
  readonly timeoutMs: number;
  readonly moved: (bytes: number) => void;
  readonly failed: () => void;
  readonly log: ProxyLog;
}

/** A fatal `internal_error` (RFC 8446 section 6): the client learns at once, instead of from a reset. */
const alert = Buffer.of(21, 3, 3, 0, 2, 2, 80);

export async function relayToAuth(socket: Socket, options: AuthRelayOptions): Promise<void> {
  const gone = new AbortController();
  const remote = { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
  const onClose = () => gone.abort();
  socket.once('close', onClose);
  const auth = await dial(options);
  socket.removeListener('close', onClose);
  if (auth === undefined) {
    socket.end(alert);
    socket.destroySoon();
    return;
  }
  if (gone.signal.aborted) {
    auth.destroy();
    return;
  }
  const line = await options.preface(remote).catch((error: unknown) => {
    options.log.warn({ error: String(error) }, 'whose connection it is could not be told to auth');
    return undefined;
  });
  if (socket.destroyed) {
    auth.destroy();
    return;
  }
  if (line !== undefined) auth.write(line);
  await splice(socket, auth, { moved: options.moved });
}

async function dial(options: AuthRelayOptions): Promise<Duplex | undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    resolve(undefined);
  }, options.timeoutMs);
  const dialled = options.dialAuth().then(
    (stream) => {
      if (late) stream.destroy();
      return stream;
    },
    (error: unknown) => {
      options.log.warn({ error: String(error) }, 'no auth server could be reached');
      return undefined;
    },
  );
  const stream = await Promise.race([dialled, promise]);
  clearTimeout(timer);
  if (stream === undefined) options.failed();
  return stream;
}
