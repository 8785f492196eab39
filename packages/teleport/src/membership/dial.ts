// Connections out of this host, and what is said when there is none: what was dialled, and why it failed.
import { createRequire } from 'node:module';
import { connect as connectTcp, isIP, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { AppError } from '@sallyport/contracts/errors.ts';
import { formatAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';
import { SilentServers } from './silent-servers.ts';

// Loaded at the first connection: it takes a command line client on the auth host, which needs none, 40 ms of CPU.
const tlsModule = () => createRequire(import.meta.url)('node:tls') as typeof import('node:tls');

const connectTimeoutMs = 10_000;

export interface DialOptions {
  /** From the first packet to a usable connection, TLS included. Default 10 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** The peer may end its direction and still be written to. For who passes both directions on. */
  readonly allowHalfOpen?: boolean;
}

/** A raw TCP connection. Rejects with AppError `unavailable`. */
export function dialTcp(address: Address, options: DialOptions = {}): Promise<Socket> {
  const { allowHalfOpen = false } = options;
  const socket = connectTcp({ host: address.host, port: address.port, noDelay: true, allowHalfOpen });
  return connected(socket, 'connect', address, options);
}

/** TLS over TCP. Rejects with AppError `unavailable`, or `denied` when the other end is not who it should be. */
export function dialTls(
  address: Address,
  tls: ConnectionOptions,
  options: DialOptions = {},
): Promise<TLSSocket> {
  const socket = tlsModule().connect({
    ...tls,
    host: address.host,
    port: address.port,
    // RFC 6066 section 3: no addresses in SNI.
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
  });
  socket.setNoDelay(true);
  return connected(socket, 'secureConnect', address, options);
}

/** Where others may answer, one that does not is not waited for as long. */
const hurriedTimeoutMs = 3_000;

/** How long to wait for one of so many addresses. */
export function connectTimeoutOf(addresses: readonly unknown[]): number {
  return addresses.length > 1 ? hurriedTimeoutMs : connectTimeoutMs;
}

/**
 * A connection to pass on, to the first of several addresses that answers; it begins with another one each time, and
 * leaves those that did not answer a moment ago for last.
 */
export function dialAny(
  addressesNow: () => readonly Address[],
  dial: (address: Address, timeoutMs: number) => Promise<Duplex> = (address, timeoutMs) =>
    dialTcp(address, { allowHalfOpen: true, timeoutMs }),
  silent: SilentServers = new SilentServers(),
): () => Promise<Duplex> {
  let turn = 0;
  return async () => {
    const addresses = addressesNow();
    const begin = turn++ % Math.max(1, addresses.length);
    const failures: AppError[] = [];
    for (const address of silent.inOrder([...addresses.slice(begin), ...addresses.slice(0, begin)])) {
      try {
        const stream = await dial(address, connectTimeoutOf(addresses));
        if (addresses.length > 1) expectAnswer(stream, address, silent);
        return stream;
      } catch (error) {
        silent.missed(address);
        failures.push(AppError.from(error));
      }
    }
    throw severalFailed(failures);
  };
}

/**
 * A connection says nothing about the process behind: the kernel of one that is stopped takes connections as ever. Who
 * has said something (the hello of TLS) and hears nothing is hung up on, and may come again.
 */
function expectAnswer(stream: Duplex, address: Address, silent: SilentServers): void {
  if (!(stream instanceof Socket)) {
    silent.heard(address);
    return;
  }
  const timer = setTimeout(() => {
    // That something came does not clear it: it may have come before the silence that others have met by now.
    if (stream.bytesRead > 0 || stream.bytesWritten === 0) return;
    silent.missed(address);
    stream.destroy();
  }, hurriedTimeoutMs);
  stream.once('close', () => clearTimeout(timer));
}

/** One sentence for all that was tried. */
export function severalFailed(failures: readonly AppError[]): AppError {
  const [first] = failures;
  if (first !== undefined && failures.length === 1) return first;
  const message =
    first === undefined ? 'There is no address to dial.' : failures.map((f) => f.message).join(' ');
  return new AppError('unavailable', 'membership.unreachable', message, { cause: first, hint: first?.hint });
}

function connected<S extends Socket>(
  socket: S,
  event: string,
  address: Address,
  { timeoutMs = connectTimeoutMs, signal }: DialOptions,
): Promise<S> {
  const { promise, resolve, reject } = Promise.withResolvers<S>();
  const give = (error: unknown) => {
    settle();
    socket.destroy();
    reject(dialError(address, error));
  };
  const timer = setTimeout(() => give(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
  const onAbort = () => give(new Error('the attempt was given up'));
  const onClose = () => give(new Error('the connection was closed'));
  const settle = () => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    socket.removeListener('error', give).removeListener('close', onClose);
    // Whoever gets the socket sees its errors as its close.
    socket.on('error', () => undefined);
  };
  socket.once('error', give).once('close', onClose);
  socket.once(event, () => {
    settle();
    resolve(socket);
  });
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted === true) onAbort();
  return promise;
}

/** What OpenSSL calls chains that do not lead to an authority we trust. */
const untrusted = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_SIGNATURE_FAILURE',
]);

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
  ENOTFOUND: 'the name is not known',
  EAI_AGAIN: 'no name server answers',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'there is no route to the host',
  ENETUNREACH: 'there is no route to the network',
  ENOENT: 'there is no such socket',
  EACCES: 'this user may not open it',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet: compare the clocks',
  INVALID_PURPOSE: 'its certificate is not one of a server',
};

export function dialError(target: Address | string, error: unknown): AppError {
  const where = typeof target === 'string' ? target : formatAddress(target);
  if (error instanceof AppError && error.kind === 'denied') {
    const message = `${where} was refused: ${error.message}`;
    return new AppError('denied', 'membership.wrong_server', message, { cause: error });
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (untrusted.has(code)) {
    return new AppError(
      'denied',
      'membership.wrong_server',
      `${where} was refused: its certificate is not signed by an authority of this cluster.`,
      {
        cause: error,
        hint: 'Is it the address of this cluster? After a rotation that this host missed, join anew.',
      },
    );
  }
  const reason = reasons[code] ?? (error instanceof Error ? error.message : 'unknown');
  return new AppError('unavailable', 'membership.unreachable', `${where} cannot be reached: ${reason}.`, {
    cause: error,
  });
}
