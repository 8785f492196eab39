// "These sessions live here": tells auth of each change as it happens, and of all of them again before it would
// forget them. A burst of changes is one call; a call that fails is made again, with what is true by then.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import { maxReports, type SessionReport } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { Backoff, pause } from './backoff.ts';
import type { MembershipLog } from './membership-log.ts';

export interface SessionReportsOptions {
  readonly client: Pick<Client<AuthRoutes>, 'reportSessions'>;
  readonly live: () => readonly SessionReport[];
  readonly log: MembershipLog;
  /** All sessions again after so long. Default 40 s, a third of what auth believes a report. */
  readonly againMs?: number;
  readonly backoff?: Backoff;
}

/** Changes that come within so many ms go together. */
const gatherMs = 30;
/** For the last word of a service that stops. */
const farewellMs = 1_000;

export class SessionReports {
  readonly #options: SessionReportsOptions;
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;
  #waiting = new AbortController();
  readonly #dirty = new Set<string>();
  /** What auth has been told and not told otherwise. */
  readonly #told = new Set<string>();
  #problem: string | undefined;

  constructor(options: SessionReportsOptions) {
    this.#options = options;
    this.#running = this.#run(options.backoff ?? new Backoff({ firstMs: 500, maxMs: 15_000 }));
  }

  changed(sid: string): void {
    this.#dirty.add(sid);
    this.#waiting.abort();
  }

  /** Sessions that outlive this process are reported by nobody any more. */
  async close(): Promise<void> {
    this.#ending.abort();
    await this.#running;
    if (this.#told.size === 0) return;
    const over = [...this.#told].slice(0, maxReports);
    const signal = AbortSignal.timeout(farewellMs);
    await this.#options.client.reportSessions({ body: { live: [], over } }, { signal }).catch(() => {});
  }

  async #run(backoff: Backoff): Promise<void> {
    const { signal } = this.#ending;
    const { againMs = 40_000 } = this.#options;
    let againAt = performance.now() + againMs;
    let failed = false;
    while (!signal.aborted) {
      this.#waiting = new AbortController();
      const changed = this.#waiting.signal;
      if (this.#dirty.size === 0 && !failed)
        await pause(againAt - performance.now(), AbortSignal.any([signal, changed]));
      if (signal.aborted) return;
      await pause(gatherMs, signal);
      const all = performance.now() >= againAt;
      if (all) againAt = performance.now() + againMs * (0.8 + Math.random() * 0.2);
      failed = !(await this.#report(all));
      if (failed) await pause(backoff.next(), signal);
      else backoff.reset();
    }
  }

  async #report(all: boolean): Promise<boolean> {
    const dirty = new Set(this.#dirty);
    this.#dirty.clear();
    const live = this.#options.live();
    const alive = new Set(live.map(({ sid }) => sid));
    const news = live.filter(({ sid }) => all || dirty.has(sid) || !this.#told.has(sid));
    const over = [...this.#told].filter((sid) => !alive.has(sid));
    try {
      for (let at = 0; at < news.length || at < over.length; at += maxReports)
        await this.#send(news.slice(at, at + maxReports), over.slice(at, at + maxReports));
      this.#problem = undefined;
      return true;
    } catch (error) {
      for (const sid of dirty) this.#dirty.add(sid);
      this.#tell(AppError.from(error).message);
      return false;
    }
  }

  async #send(live: readonly SessionReport[], over: readonly string[]): Promise<void> {
    const body = { live: [...live], over: [...over] };
    await this.#options.client.reportSessions({ body }, { signal: this.#ending.signal });
    for (const { sid } of live) this.#told.add(sid);
    for (const sid of over) this.#told.delete(sid);
  }

  #tell(problem: string): void {
    if (problem !== this.#problem && !this.#ending.signal.aborted)
      this.#options.log.warn({ problem }, 'live sessions could not be reported');
    this.#problem = problem;
  }
}
