// One reverse tunnel: an SSH client of a proxy that lets the proxy open streams to this host, which may stand behind
// any NAT. Reconnects until it is closed. What the streams carry is the business of whoever takes them (the node's
// own SSH server: the person's SSH runs through, encrypted between its ends).
import type { Duplex } from 'node:stream';
import { alpnProtocols, redialChannel, tunnelChannel } from '@sallyport/contracts/api/tunnel.ts';
import { tunnelOpening } from '@sallyport/contracts/api/tunnel-opening.ts';
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
  /** The proxy that must answer, where it is known. An address may also lead to any proxy of the cluster. */
  readonly proxyUuid: string | undefined;
}

/** A stream a proxy opened, and whose it is. */
export type TakeStream = (stream: Duplex, remote: Address) => void;

export interface TunnelAgentOptions {
  readonly target: TunnelTarget;
  readonly member: HostMember;
  readonly take: TakeStream;
  /**
   * May this agent have the tunnel to this proxy? Asked before it logs in: a proxy keeps the newest tunnel of a host
   * and ends the older one, with all that runs through it. Until `onDown` nobody else may.
   */
  readonly claim: (proxyUuid: string) => boolean;
  readonly onUp: (proxyUuid: string) => void;
  /** After each connection or attempt. */
  readonly onDown: () => void;
  readonly now: () => Date;
  readonly log: MembershipLog;
  readonly backoff?: Backoff;
  /** Silence for so long is answered by a question, three unanswered ones end the tunnel. Default 15 s. */
  readonly keepaliveMs?: number;
}

/** Streams through one tunnel; a node serves fewer sessions than that. */
const maxStreams = 4_096;
/** A tunnel that lived so long was none that a proxy lets in and throws out. */
const steadyMs = 10_000;
/** An address whose proxy has a tunnel already may lead to another proxy later. */
const claimedMs = 30_000;

const redialled = Symbol('redialled');

export class TunnelAgent {
  readonly #options: TunnelAgentOptions;
  readonly #ending = new AbortController();
  #running: Promise<void> = Promise.resolve();
  readonly #backoff: Backoff;
  #client: SshClient | undefined;
  #problem: string | undefined = 'not connected yet';
  #proxyUuid: string | undefined;
  /** The proxy that answered has a tunnel of this host already. */
  #claimed = false;
  #waiting = new AbortController();
  /** Tunnels we were asked to leave as they are: what runs through them goes on. */
  readonly #left = new Set<SshClient>();
  #redial = Promise.withResolvers<typeof redialled>();
  #retired = false;

  constructor(options: TunnelAgentOptions) {
    this.#options = options;
    this.#backoff = options.backoff ?? new Backoff({ firstMs: 500, maxMs: 15_000 });
  }

  /** Once whoever made it is ready to be asked. */
  start(): void {
    this.#running = this.#run();
  }

  /** Of the proxy it is connected to. */
  get proxyUuid(): string | undefined {
    return this.#proxyUuid;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  /** Another tunnel has ended: perhaps this one is wanted now. */
  retry(): void {
    this.#waiting.abort();
  }

  /** Another process of this host has tunnels of its own: what runs through ours goes on, nothing new comes. */
  retire(): void {
    this.#retired = true;
    this.#waiting.abort();
  }

  async close(): Promise<void> {
    this.#ending.abort();
    this.#client?.close();
    for (const client of this.#left) client.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted && !this.#retired) {
      this.#waiting = new AbortController();
      const wake = this.#waiting.signal;
      const waitMs = await this.#once().catch((error: unknown) => this.#failed(AppError.from(error)));
      await pause(waitMs, AbortSignal.any([signal, wake]));
    }
  }

  /** One connection, from dialling to its end. Milliseconds to wait before the next. */
  async #once(): Promise<number> {
    const { target, claim, onDown } = this.#options;
    this.#claimed = target.proxyUuid !== undefined && !claim(target.proxyUuid);
    if (this.#claimed) return this.#unwanted();
    try {
      const client = await this.#connect();
      return await this.#serve(client);
    } catch (error) {
      if (this.#claimed) return this.#unwanted();
      throw error;
    } finally {
      onDown();
    }
  }

  #unwanted(): number {
    this.#problem = undefined;
    return claimedMs * (0.5 + Math.random() / 2);
  }

  /** Until the tunnel ends. */
  async #serve(client: SshClient): Promise<number> {
    const { target, onUp, log } = this.#options;
    const address = formatAddress(target.address);
    const proxyUuid = proxyOf(client.hostKey);
    this.#client = client;
    if (this.#ending.signal.aborted) client.close();
    this.#proxyUuid = proxyUuid;
    this.#problem = undefined;
    log.info({ address, proxyUuid }, 'a reverse tunnel is up');
    onUp(proxyUuid);
    const up = performance.now();
    this.#redial = Promise.withResolvers();
    const reason = await Promise.race([client.closed, this.#redial.promise]);
    this.#client = undefined;
    this.#proxyUuid = undefined;
    if (reason === redialled) {
      this.#left.add(client);
      void client.closed.then(() => this.#left.delete(client));
      log.info({ address, proxyUuid }, 'the proxy asks for a new tunnel; this one stays while it is used');
      return 0;
    }
    this.#problem = `the tunnel to ${address} has ended: ${reason}`;
    if (!this.#ending.signal.aborted) log.warn({ address, proxyUuid, reason }, 'a reverse tunnel has ended');
    // A proxy that lets in and throws out at once must not be knocked at without a pause.
    if (performance.now() - up > steadyMs) this.#backoff.reset();
    return this.#backoff.next();
  }

  async #connect(): Promise<SshClient> {
    const { target, member, keepaliveMs = 15_000 } = this.#options;
    const stream = await this.#dial(target);
    const onAbort = () => stream.destroy();
    this.#ending.signal.addEventListener('abort', onAbort, { once: true });
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
    } finally {
      this.#ending.signal.removeEventListener('abort', onAbort);
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

  #verify({ blob }: HostKeyOffer): boolean {
    const { member, target, claim, now } = this.#options;
    const trustedCas = member.trust.ssh_host_cas.map(parsePublicKeyLine);
    // The role says that it is a proxy, its uuid which one. Names do not matter: an address may be a load balancer's.
    const host = target.proxyUuid ?? parseCertificate(blob).keyId;
    const verdict = verifyHostCertificate({ blob, trustedCas, host, now: now() });
    const reason = verdict.ok ? roleProblem(verdict.certificate) : verdict.reason;
    if (reason !== undefined) {
      throw new AppError(
        'denied',
        'membership.wrong_server',
        `What answers is not a proxy of this cluster: ${reason}.`,
      );
    }
    this.#claimed = !claim(proxyOf({ blob }));
    return !this.#claimed;
  }

  #open({ type, payload }: ChannelOpen): EventualChannelAnswer {
    if (type === redialChannel) {
      this.#redial.resolve(redialled);
      return { refuse: 'prohibited', text: 'dialling again' };
    }
    if (this.#retired)
      return { refuse: 'connect-failed', text: 'another daemon of this host takes new streams' };
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
function proxyOf({ blob }: Pick<HostKeyOffer, 'blob'>): string {
  return parseCertificate(blob).keyId;
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
