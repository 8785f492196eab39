// "I am here": writes this host's node, proxy or auth_server resource again and again, long before it would expire.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import type { AuthServerDocument, NodeDocument, ProxyDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { Backoff, pause } from './backoff.ts';
import type { MembershipLog } from './membership-log.ts';

export interface HeartbeatOptions {
  readonly client: Pick<Client<AuthRoutes>, 'heartbeat'>;
  /** Asked for each beat: labels from commands and addresses change. */
  readonly document: () => NodeDocument | ProxyDocument | AuthServerDocument;
  readonly now: () => Date;
  readonly log: MembershipLog;
  readonly backoff?: Backoff;
}

export interface Heartbeat {
  /** Something of the document changed: beat now, not in a while. */
  beat(): void;
  /** The last beat arrived. */
  readonly healthy: boolean;
  readonly problem: string | undefined;
  close(): Promise<void>;
}

/** Within a minute a new label shows, and 1,000 nodes make 17 calls a second. */
const maxIntervalMs = 60_000;
const minIntervalMs = 1_000;

class RunningHeartbeat implements Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;
  #waiting = new AbortController();
  #problem: string | undefined = 'no beat has arrived yet';

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#running = this.#run(options.backoff ?? new Backoff({ firstMs: 500, maxMs: 15_000 }));
  }

  get healthy(): boolean {
    return this.#problem === undefined;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  beat(): void {
    this.#waiting.abort();
  }

  async close(): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }

  async #run(backoff: Backoff): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      // Made before the call: a change during it makes the next beat come at once.
      this.#waiting = new AbortController();
      const waitMs = await this.#once(backoff);
      await pause(waitMs, AbortSignal.any([signal, this.#waiting.signal]));
    }
  }

  /** Milliseconds until the next. */
  async #once(backoff: Backoff): Promise<number> {
    const { client, now, log } = this.#options;
    try {
      const body = this.#options.document();
      const { expires } = await client.heartbeat(
        { params: { kind: body.kind }, body },
        { signal: this.#ending.signal },
      );
      if (this.#problem !== undefined) log.info({ kind: body.kind }, 'registered with the cluster');
      this.#problem = undefined;
      backoff.reset();
      // Two more chances before it expires; jitter keeps hosts that started together from beating together.
      const third = (new Date(expires).getTime() - now().getTime()) / 3;
      return Math.min(maxIntervalMs, Math.max(minIntervalMs, third)) * (0.8 + Math.random() * 0.2);
    } catch (error) {
      const problem = AppError.from(error).message;
      if (problem !== this.#problem && !this.#ending.signal.aborted)
        log.warn({ problem }, 'a heartbeat did not arrive');
      this.#problem = problem;
      return backoff.next();
    }
  }
}

export function startHeartbeat(options: HeartbeatOptions): Heartbeat {
  return new RunningHeartbeat(options);
}
