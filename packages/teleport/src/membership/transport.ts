// How the typed client's requests travel: HTTP/1.1 over mutual TLS 1.3 to an auth server (or to a proxy, which passes
// the bytes on by ALPN), or over the auth host's local socket. Connections are kept and used again.

import { randomUUID } from 'node:crypto';
import type { AgentOptions } from 'node:http';
import { createRequire } from 'node:module';
import { connect as connectSocket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { HttpAnswer, HttpRequest, Transport } from '@sallyport/contracts/api/client.ts';
import { attemptHeader, onceHeader } from '@sallyport/contracts/api/once.ts';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { alpnProtocols } from '@sallyport/contracts/api/tunnel.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { TlsTrust } from '../ca/tls-options.ts';
import { formatAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';
import { connectTimeoutOf, dialError, dialTls, severalFailed } from './dial.ts';
import { BrokenConnection, Exchange, isReset, patienceMs } from './exchange.ts';
import { SilentServers } from './silent-servers.ts';

// Not imported: to name its exports Node would evaluate them all, undici among them, which takes a command line
// client longer (60 ms of CPU) than its whole question.
const { Agent } = createRequire(import.meta.url)('node:http') as typeof import('node:http');
/**
 * A server that is at work says so every half second (contracts/api/signs-of-life.ts). One from which nothing is heard
 * for so long is silent, and the call goes to another.
 */
const quietMs = 3_000;
/** A call that was silence twice waits long for the third: then it is not this server or that one. */
const hurriedAttempts = 2;
/** Of a call whose connection broke. */
const maxAttempts = 5;

export interface MemberTransport extends Transport {
  /** Connections without a call on them are closed: the next call shows a renewed certificate, or meets new trust. */
  renew(): void;
  /** Every call fails, now and later. */
  close(): void;
}

/** PEM. */
export interface TlsKeyPair {
  readonly key: string;
  readonly cert: string;
}

export interface TlsTransportOptions {
  /**
   * Auth servers, or the web port of proxies. Tried in turn; who answered is asked again first. A function is asked for
   * each new connection: what is known of the cluster changes.
   */
  readonly addresses: readonly Address[] | (() => readonly Address[]);
  /** Both are asked for each new connection. Without an identity: an anonymous caller. */
  readonly identity?: () => TlsKeyPair | undefined;
  readonly trust: () => TlsTrust;
  /** Default: an auth server. */
  readonly expect?: readonly HostRole[];
  readonly connectTimeoutMs?: number;
  /** Before an answer begins; default 3 s. */
  readonly quietMs?: number;
  /** Of a stream; default: what the server promises. */
  readonly silenceMs?: number;
  /** To be shared by all who dial the same servers. */
  readonly silent?: SilentServers;
}

export function tlsTransport(options: TlsTransportOptions): MemberTransport {
  const { identity, trust, expect = ['auth'], silent = new SilentServers() } = options;
  const addressesNow = () =>
    typeof options.addresses === 'function' ? options.addresses() : options.addresses;
  let preferred = '';
  const dialOnce = async (): Promise<Dialled> => {
    // Schemas come with it, which whoever uses the socket need not wait for.
    const { clientTlsOptions } = await import('../ca/tls-options.ts');
    const pair = identity?.();
    const tls = clientTlsOptions({
      ...(pair === undefined ? {} : { keyPem: pair.key, certPem: pair.cert }),
      trust: trust(),
      expect,
      alpn: [alpnProtocols.auth],
    });
    const failures: AppError[] = [];
    const addresses = addressesNow();
    const first = addresses.findIndex((address) => formatAddress(address) === preferred);
    const begin = Math.max(0, first);
    const { connectTimeoutMs: timeoutMs = connectTimeoutOf(addresses) } = options;
    for (const address of silent.inOrder([...addresses.slice(begin), ...addresses.slice(0, begin)])) {
      try {
        const stream = await dialTls(address, tls, { timeoutMs });
        preferred = formatAddress(address);
        return { stream, address };
      } catch (error) {
        silent.missed(address);
        failures.push(AppError.from(error));
      }
    }
    throw severalFailed(failures);
  };
  return httpTransport({
    // A proxy hangs up when the auth server that it chose does not answer. It knows better the second time.
    dial: () =>
      dialOnce().catch((error: AppError) => {
        if (isReset(error.cause)) return dialOnce();
        throw error;
      }),
    target: () => addressesNow().map(formatAddress).join(', '),
    silent,
    quietMs: options.quietMs ?? quietMs,
    silenceMs: options.silenceMs,
  });
}

/** The administrator's way in, on the auth host. */
export function socketTransport(path: string): MemberTransport {
  return httpTransport({
    target: () => path,
    silent: undefined,
    // There is no other server to go to.
    quietMs: patienceMs,
    silenceMs: undefined,
    dial: () => {
      const { promise, resolve, reject } = Promise.withResolvers<Dialled>();
      const stream = connectSocket(path);
      stream.once('error', (error) => reject(dialError(path, error)));
      stream.once('connect', () => resolve({ stream: stream.on('error', () => undefined) }));
      return promise;
    },
  });
}

interface Dialled {
  readonly stream: Duplex;
  readonly address?: Address;
}

interface LinkOptions {
  readonly dial: () => Promise<Dialled>;
  readonly target: () => string;
  readonly silent: SilentServers | undefined;
  readonly quietMs: number;
  readonly silenceMs: number | undefined;
}

/** node's agent with connections from a function of ours: it pools them, keeps them, and hands them out again. */
class DialAgent extends Agent {
  readonly #dial: () => Promise<Dialled>;
  readonly #addresses = new WeakMap<Duplex, Address>();

  constructor(dial: () => Promise<Dialled>, options: AgentOptions) {
    super(options);
    this.#dial = dial;
  }

  override createConnection(
    _options: object,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    this.#dial().then(
      ({ stream, address }) => {
        if (address !== undefined) this.#addresses.set(stream, address);
        callback?.(null, stream);
      },
      // The type has no place for a failure without a stream; node takes it so.
      (error: Error) => (callback as ((error: Error) => void) | undefined)?.(error),
    );
  }

  addressOf(stream: Duplex): Address | undefined {
    return this.#addresses.get(stream);
  }

  /** Those to one server, or all. */
  closeIdle(to?: Address): void {
    for (const socket of Object.values(this.freeSockets).flat())
      if (to === undefined || this.#isTo(to, socket)) socket?.destroy();
  }

  #isTo(to: Address, socket: Duplex | undefined): boolean {
    const address = socket && this.#addresses.get(socket);
    return address !== undefined && formatAddress(address) === formatAddress(to);
  }
}

function httpTransport(options: LinkOptions): MemberTransport {
  // A watch holds a connection for good, calls borrow one for milliseconds; 75 s is what the server keeps them.
  const agent = new DialAgent(options.dial, {
    keepAlive: true,
    maxSockets: 64,
    maxFreeSockets: 8,
    timeout: 60_000,
  });
  const link = linkOf(options, agent);
  let closed = false;
  const transport = async (request: HttpRequest): Promise<HttpAnswer> => {
    const named = request.method === 'GET' ? {} : { [onceHeader]: randomUUID() };
    const begun = performance.now();
    let wasSilent = false;
    for (let attempt = 1; ; attempt++) {
      if (closed) throw new AppError('unavailable', 'membership.closed', 'This connection was closed.');
      const again = attempt === 1 ? {} : { [attemptHeader]: String(attempt) };
      const headers = { ...request.headers, ...named, ...again };
      const waitMs = attempt > hurriedAttempts ? patienceMs : options.quietMs;
      try {
        return await new Exchange(agent, { ...request, headers }, link, waitMs).answer;
      } catch (error) {
        const reason = repeatable(error, wasSilent);
        if (reason === undefined) throw error;
        const isLate = performance.now() - begun > patienceMs;
        if (attempt >= maxAttempts || isLate || request.signal?.aborted === true) throw reason;
        wasSilent ||= error instanceof BrokenConnection && error.isSilent;
      }
      // The first one at once: most often a kept connection that the server closed in the same instant. Then a server
      // that went down: the next connection finds another, or the same one started anew.
      if (attempt > 1) await delay(attempt * 100);
    }
  };
  return Object.assign(transport, {
    renew: () => agent.closeIdle(),
    close: () => {
      closed = true;
      agent.destroy();
    },
  });
}

function linkOf({ target, silenceMs, silent }: LinkOptions, agent: DialAgent) {
  return {
    target,
    silenceMs,
    heard(socket: Duplex) {
      const address = agent.addressOf(socket);
      if (address !== undefined) silent?.heard(address);
    },
    missed(socket: Duplex) {
      const address = agent.addressOf(socket);
      if (address === undefined) return;
      silent?.missed(address);
      // Kept for the next calls, which would wait as long.
      agent.closeIdle(address);
    },
  };
}

/** What to say should it be the last attempt; undefined: the call is not to be sent again. */
function repeatable(error: unknown, wasSilent: boolean): AppError | undefined {
  if (error instanceof BrokenConnection) return error.reason;
  // The server fell silent, and now nobody can be reached: it may be coming back.
  return wasSilent && error instanceof AppError && error.code === 'membership.unreachable'
    ? error
    : undefined;
}
