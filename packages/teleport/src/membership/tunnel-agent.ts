// One reverse tunnel: an SSH client of a proxy that lets the proxy open streams to this host, which may stand behind
// any NAT. Reconnects until it is closed. What the streams carry is the business of whoever takes them (the node's
// own SSH server: the person's SSH runs through, encrypted between its ends).
import type { Duplex } from 'node:stream';
import { alpnProtocols, tunnelChannel, tunnelOpening } from '@sallyport/contracts/api/tunnel.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Certificate } from '../ca/certificate.ts';
import { identityExtensions } from '../ca/identity.ts';
import { optionText, parseCertificate } from '../ca/parse-certificate.ts';
import { parsePublicKeyLine } from '../ca/public-key.ts';
import { verifyHostCertificate } from '../ca/verify.ts';
import { formatAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';
import { connectSsh } from '../ssh-transport/client.ts';
import type { ChannelOpen, EventualChannelAnswer } from '../ssh-transport/connection.ts';
import type { HostKeyOffer, SshClient } from '../ssh-transport/ssh-client.ts';
import { Backoff, pause } from './backoff.ts';
import { dialTcp, dialTls } from './dial.ts';
import type { HostMember } from './host-member.ts';
import type { MembershipLog } from './membership-log.ts';

export interface TunnelTarget {
  readonly address: Address;
  /** The web port, which tells tunnels by ALPN; otherwise the tunnel port. */
  readonly tls: boolean;
  /** What the proxy's host certificate must name: its uuid where it is known, else the host that is dialled. */
  readonly principal: string;
}

/** A stream a proxy opened, and whose it is. */
export type TakeStream = (stream: Duplex, remote: Address) => void;

export interface TunnelAgentOptions {
  readonly target: TunnelTarget;
  readonly member: HostMember;
  readonly take: TakeStream;
  /** A tunnel is up, to the proxy with this uuid. False: it is not wanted (there is one already). */
  readonly onUp: (proxyUuid: string) => boolean;
  readonly onDown: () => void;
  readonly now: () => Date;
  readonly log: MembershipLog;
  readonly backoff?: Backoff;
  /** Silence for so long is answered by a question, three unanswered ones end the tunnel. Default 15 s. */
  readonly keepaliveMs?: number;
}

/** Streams through one tunnel; a node serves fewer sessions than that. */
const maxStreams = 4_096;
/** A tunnel that is not wanted now may be later: the address may lead to another proxy by then. */
const unwantedMs = 30_000;

export class TunnelAgent {
  readonly #options: TunnelAgentOptions;
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;
  readonly #backoff: Backoff;
  #client: SshClient | undefined;
  #problem: string | undefined = 'not connected yet';
  #proxyUuid: string | undefined;

  constructor(options: TunnelAgentOptions) {
    this.#options = options;
    this.#backoff = options.backoff ?? new Backoff({ firstMs: 500, maxMs: 30_000 });
    this.#running = this.#run();
  }

  /** Of the proxy it is connected to. */
  get proxyUuid(): string | undefined {
    return this.#proxyUuid;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  async close(): Promise<void> {
    this.#ending.abort();
    this.#client?.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      const waitMs = await this.#once().catch((error: unknown) => this.#failed(AppError.from(error)));
      await pause(waitMs, signal);
    }
  }

  /** One connection, from dialling to its end. Milliseconds to wait before the next. */
  async #once(): Promise<number> {
    const { target, onUp, onDown, log } = this.#options;
    const client = await this.#connect();
    const address = formatAddress(target.address);
    const proxyUuid = proxyOf(client.hostKey);
    if (this.#ending.signal.aborted || !onUp(proxyUuid)) {
      client.close();
      this.#problem = undefined;
      return unwantedMs * (0.5 + Math.random() / 2);
    }
    this.#client = client;
    this.#proxyUuid = proxyUuid;
    this.#problem = undefined;
    log.info({ address, proxyUuid }, 'a reverse tunnel is up');
    const up = performance.now();
    const reason = await client.closed;
    this.#client = undefined;
    this.#proxyUuid = undefined;
    this.#problem = `the tunnel to ${address} has ended: ${reason}`;
    onDown();
    if (!this.#ending.signal.aborted) log.warn({ address, proxyUuid, reason }, 'a reverse tunnel has ended');
    // A proxy that lets in and throws out at once must not be knocked at without a pause.
    if (performance.now() - up > 10_000) this.#backoff.reset();
    return this.#backoff.next();
  }

  async #connect(): Promise<SshClient> {
    const { target, member, keepaliveMs = 15_000 } = this.#options;
    const stream = await this.#dial(target);
    try {
      return await connectSsh({
        stream,
        login: member.hostUuid,
        keys: [{ privateKey: member.keys.ssh.privateKey, certificate: member.sshCertificate }],
        verifyHost: (offer) => this.#verify(offer),
        handler: { channel: (open) => this.#open(open) },
        keepaliveMs,
        maxChannels: maxStreams,
      });
    } catch (error) {
      stream.destroy();
      throw tunnelError(target.address, error);
    }
  }

  #dial({ address, tls }: TunnelTarget): Promise<Duplex> {
    const { signal } = this.#ending;
    if (!tls) return dialTcp(address, { signal });
    // Not verified here: the web port may show a certificate for browsers, and what runs inside is SSH, whose host
    // certificate is. TLS only gets the stream through the port.
    const outer = {
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
      ALPNProtocols: [alpnProtocols.tunnel],
    } as const;
    return dialTls(address, outer, { signal });
  }

  #verify(offer: HostKeyOffer): boolean {
    const { member, target, now } = this.#options;
    const trustedCas = member.trust.ssh_host_cas.map(parsePublicKeyLine);
    const verdict = verifyHostCertificate({
      blob: offer.blob,
      trustedCas,
      host: target.principal,
      now: now(),
    });
    const reason = verdict.ok ? roleProblem(verdict.certificate) : verdict.reason;
    if (reason === undefined) return true;
    throw new AppError(
      'denied',
      'membership.wrong_server',
      `What answers is not a proxy of this cluster: ${reason}.`,
    );
  }

  #open({ type, payload }: ChannelOpen): EventualChannelAnswer {
    if (type !== tunnelChannel)
      return { refuse: 'unknown-type', text: `no channels of type ${type.slice(0, 64)} here` };
    const opening = tunnelOpening.safeParse(parseJson(payload));
    if (!opening.success)
      return { refuse: 'connect-failed', text: 'the opening of the stream cannot be read' };
    return { accept: (stream) => this.#options.take(stream, opening.data.remote) };
  }

  #failed(error: AppError): number {
    const waitMs = this.#backoff.next();
    if (error.message !== this.#problem && !this.#ending.signal.aborted) {
      this.#options.log.warn({ problem: error.message, waitMs }, 'a reverse tunnel cannot be opened');
    }
    this.#problem = error.message;
    return waitMs;
  }
}

/** A node may have any name its owner likes: what makes a proxy is that auth says so. */
function roleProblem({ extensions }: Certificate): string | undefined {
  const roles = extensions.get(identityExtensions.roles);
  return roles !== undefined && strings(optionText(roles, 'roles')).includes('proxy')
    ? undefined
    : 'its certificate is not one of a proxy';
}

function strings(text: string): unknown[] {
  const parsed = parseJson(Buffer.from(text));
  return Array.isArray(parsed) ? parsed : [];
}

/** The key id of a host certificate is its uuid; the certificate was verified before. */
function proxyOf(hostKey: HostKeyOffer): string {
  return parseCertificate(hostKey.blob).keyId;
}

function tunnelError(address: Address, error: unknown): AppError {
  const { kind, code, message, hint, cause } = AppError.from(error);
  const why = cause instanceof AppError ? `${message} ${cause.message}` : message;
  return new AppError(kind, code, `No tunnel to ${formatAddress(address)}: ${why}`, { cause: error, hint });
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
