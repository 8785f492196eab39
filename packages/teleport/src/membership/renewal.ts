// Keeps this host's certificates good: renewed at half of their life, at once when a rotation changes what signs, and
// whenever the names it is dialled by change. Also carries the cache's trust to disk, so that after a restart this
// host still knows its auth servers.
import type { AuthRoutes, Trust } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseCertificate } from '../ca/parse-certificate.ts';
import { Backoff, pause } from './backoff.ts';
import type { ClusterCache } from './cluster-cache.ts';
import type { HostMember } from './host-member.ts';
import type { MembershipLog } from './membership-log.ts';

export interface RenewalOptions {
  readonly member: HostMember;
  readonly client: Pick<Client<AuthRoutes>, 'renewHost'>;
  /** Where a rotation is heard of first. */
  readonly cluster: Pick<ClusterCache, 'trust' | 'onChange'>;
  /** Names and addresses, without ports, this host is dialled by. */
  readonly principals: () => readonly string[];
  readonly version: string;
  readonly now: () => Date;
  readonly log: MembershipLog;
  readonly backoff?: Backoff;
}

export interface Renewal {
  /** Names have changed, or whoever asks knows better: look now. */
  check(): void;
  readonly problem: string | undefined;
  close(): Promise<void>;
}

/** setTimeout holds 24.8 days; also how long a change of the clock may go unseen. */
const maxWaitMs = 3_600_000;
/** Hosts that joined together, or hear of a rotation together, do not renew together. */
const spread = 0.1;
const rotationSpreadMs = 2_000;

class RunningRenewal implements Renewal {
  readonly #options: RenewalOptions;
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;
  readonly #unsubscribe: () => void;
  /** Drawn once: a moving target would never be passed. */
  readonly #jitter = Math.random() * spread;
  #waiting = new AbortController();
  #problem: string | undefined;
  #seen: Trust | undefined;
  /** The names of the last renewal: those that auth does not certify are not asked for again and again. */
  #asked: string | undefined;

  constructor(options: RenewalOptions) {
    this.#options = options;
    this.#unsubscribe = options.cluster.onChange(() => {
      // The cache keeps the object while the trust is the same.
      if (options.cluster.trust !== this.#seen) this.check();
    });
    this.#running = this.#run(options.backoff ?? new Backoff({ firstMs: 1_000, maxMs: 60_000 }));
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  check(): void {
    this.#waiting.abort();
  }

  async close(): Promise<void> {
    this.#ending.abort();
    this.#unsubscribe();
    await this.#running;
  }

  async #run(backoff: Backoff): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      this.#waiting = new AbortController();
      const wake = AbortSignal.any([signal, this.#waiting.signal]);
      try {
        await this.#once();
        backoff.reset();
        this.#problem = undefined;
        await pause(Math.min(maxWaitMs, Math.max(0, this.#dueInMs())), wake);
      } catch (error) {
        this.#failed(AppError.from(error).message);
        await pause(backoff.next(), wake);
      }
    }
  }

  async #once(): Promise<void> {
    const { member, cluster, log } = this.#options;
    this.#seen = cluster.trust;
    await member.replaceTrust(this.#seen);
    const why = this.#reason();
    if (why === undefined || this.#ending.signal.aborted) return;
    if (why === 'rotation') await pause(Math.random() * rotationSpreadMs, this.#ending.signal);
    const { client, principals, version } = this.#options;
    const names = [...principals()];
    const granted = await client.renewHost(
      {
        body: {
          ssh_public_key: member.keys.ssh.publicKey.toString('base64'),
          tls_public_key: member.keys.tls.publicKeyPem,
          principals: names,
          version,
        },
      },
      { signal: this.#ending.signal },
    );
    await member.replace(granted);
    this.#asked = JSON.stringify(names);
    log.info({ why, validBefore: granted.valid_before }, 'the certificates of this host were renewed');
  }

  #reason(): 'rotation' | 'half of its life' | 'names' | undefined {
    const { member, principals } = this.#options;
    if (!member.signedByActive) return 'rotation';
    if (this.#dueInMs() <= 0) return 'half of its life';
    const has = parseCertificate(member.sshCertificate).principals;
    const names = principals();
    const settled = JSON.stringify(names) === this.#asked || names.every((name) => has.includes(name));
    return settled ? undefined : 'names';
  }

  #dueInMs(): number {
    const { validAfter, validBefore } = this.#options.member.life;
    const half = (validBefore.getTime() - validAfter.getTime()) / 2;
    return validAfter.getTime() + half * (1 - this.#jitter) - this.#options.now().getTime();
  }

  #failed(problem: string): void {
    if (this.#ending.signal.aborted) return;
    const validBefore = this.#options.member.life.validBefore.toISOString();
    if (problem !== this.#problem) {
      this.#options.log.warn({ problem, validBefore }, 'the certificates of this host could not be renewed');
    }
    this.#problem = problem;
  }
}

export function keepRenewed(options: RenewalOptions): Renewal {
  return new RunningRenewal(options);
}
