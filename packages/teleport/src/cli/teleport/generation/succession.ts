// One daemon gives way to the next. SIGHUP: the configuration is checked, a new daemon is started and handed the
// sockets; when it serves, this one accepts nobody and stays for what lives in it. Whatever fails before that leaves
// everything as it was. Afterwards this one watches over its heir for as long as it lives.
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Logger } from 'pino';
import type { Config } from '../../../config/config.ts';
import type { PidFile } from '../pid-file.ts';
import { changedKeys, reload } from '../reload.ts';
import type { RunningTeleport } from '../service.ts';
import type { StartOptions } from '../start-options.ts';
import { type Heir, startHeir } from './heir.ts';
import { tellServiceManager, tellServiceManagerAtOnce } from './service-manager.ts';

export interface SuccessionOptions extends Pick<StartOptions, 'config' | 'reload' | 'drainMs' | 'readyMs'> {
  readonly service: RunningTeleport;
  readonly log: Logger;
  readonly pidFile: PidFile;
}

const lookMs = 200;
const guardMs = 500;
/** Between tries to replace an heir that died. */
const firstRetryMs = 1_000;
const lastRetryMs = 30_000;

export class Succession {
  /** Resolves when another daemon serves in our place. */
  readonly retired: Promise<'retired'>;
  readonly #options: SuccessionOptions;
  readonly #ending = new AbortController();
  #guards = true;
  /** Nobody serves in our place any more. */
  #orphaned = false;
  #isRetired = false;
  #reloading = false;
  #retire: (how: 'retired') => void = () => {};

  constructor(options: SuccessionOptions) {
    this.#options = options;
    this.retired = new Promise((resolve) => {
      this.#retire = resolve;
    });
  }

  get isRetired(): boolean {
    return this.#isRetired;
  }

  /** SIGHUP. More than one at a time are one. Never rejects. */
  async reload(): Promise<void> {
    const { log, service, config, reload: load } = this.#options;
    if (this.#isRetired) return log.info({}, 'a newer daemon serves: a reload is its business');
    if (this.#reloading) return;
    this.#reloading = true;
    try {
      // A container ends with its first process: there what can be taken up in place is.
      if (process.pid === 1) {
        await reload({ running: config, load, log, renewCertificates: () => service.renewCertificates() });
        return;
      }
      await this.#succeed();
    } catch (err) {
      log.error({ err }, 'the reload failed; the service goes on as it is');
      // Who waits for the outcome hears it by this. The next daemon may have come so far as to name itself, too.
      await this.#options.pidFile.write().catch(() => {});
    } finally {
      this.#reloading = false;
    }
  }

  async #succeed(): Promise<void> {
    const { log, service, config, reload: load } = this.#options;
    const wanted = await load();
    refuseOtherHost(config, wanted);
    const changed = changedKeys(config, wanted);
    log.info({ changed }, 'a new daemon is being started');
    const began = performance.now();
    let heir: Heir;
    await tellServiceManager({ RELOADING: 1, MONOTONIC_USEC: monotonicUs() });
    try {
      heir = await this.#start();
    } catch (error) {
      if (!this.#ending.signal.aborted) await service.resumeAuth();
      await tellServiceManager({ MAINPID: process.pid, READY: 1, STATUS: 'the reload failed' });
      throw error;
    }
    this.#isRetired = true;
    const ms = Math.round(performance.now() - began);
    log.info({ pid: heir.pid, ms }, 'a new daemon serves; this one stays for what lives in it');
    this.#retire('retired');
  }

  #start(): Promise<Heir> {
    const { service, readyMs } = this.#options;
    return startHeir({
      sockets: service.sockets,
      yieldAuth: () => service.yieldAuth(),
      deadlineMs: readyMs,
      signal: this.#ending.signal,
    });
  }

  /** Accepts nobody; resolves when nothing lives here any more, the time is over, or `stop` does. */
  async drain(why: string, stop: Promise<unknown>): Promise<void> {
    const { service, log, drainMs } = this.#options;
    let stopped = false;
    void stop.then(() => {
      stopped = true;
    });
    if (!this.#isRetired) await service.yieldAuth();
    await service.retire();
    void this.#guard();
    const until = Date.now() + drainMs;
    log.info({ why, waits_for: service.busy, at_most_s: Math.round(drainMs / 1_000) }, 'teleport drains');
    while (!stopped && service.busy > 0 && Date.now() < until) await delay(lookMs);
    if (!stopped && service.busy > 0) log.warn({ left: service.busy }, 'the time for draining is over');
  }

  /**
   * Whoever took over and died without having been told to is replaced. systemd may not hear of it: its parent is the
   * daemon before it. The newest that lives does it, and whoever stops in order tells us before.
   */
  async #guard(): Promise<void> {
    const { log, service } = this.#options;
    const { signal } = this.#ending;
    while (!signal.aborted && this.#guards) {
      await delay(guardMs, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted || !this.#guards || (await service.generations.newer()).length > 0) continue;
      log.error({}, 'the daemon that took over has died; another one is started');
      this.#orphaned = true;
      await tellServiceManager({ MAINPID: process.pid });
      if (await this.#replace()) this.#orphaned = false;
    }
  }

  /** A daemon that drains is told to end: nobody is to follow when all is over. */
  leaveUnguarded(): void {
    this.#guards = false;
  }

  /** False: we end. */
  async #replace(): Promise<boolean> {
    const { log } = this.#options;
    const { signal } = this.#ending;
    for (let waitMs = firstRetryMs; !signal.aborted; waitMs = Math.min(lastRetryMs, 2 * waitMs)) {
      try {
        await this.#start();
        return true;
      } catch (err) {
        if (!signal.aborted) log.error({ err }, 'no daemon serves; it is tried again');
      }
      await delay(waitMs, undefined, { signal }).catch(() => {});
    }
    return false;
  }

  /** Before we stop. A daemon that is told to stop tells those that still drain. */
  async endAll(signal: string): Promise<void> {
    const { service, log } = this.#options;
    this.#ending.abort();
    // Whoever keeps daemons running must start one: ours has none to follow it.
    if (this.#orphaned) process.exitCode = 1;
    if (this.#isRetired) {
      if (!signal.startsWith('SIG')) process.once('exit', () => this.#lastLook());
      return;
    }
    // After a SIGQUIT those that drain go on, and nobody is to follow them either.
    const told = signal.startsWith('SIG') ? 'SIGTERM' : 'SIGQUIT';
    for (const { pid } of await service.generations.others()) {
      log.info({ pid, signal: told }, 'a daemon that still drains is told to stop');
      try {
        process.kill(pid, told);
      } catch {
        // It has just ended.
      }
    }
  }

  /**
   * An heir that died since the guard's last look is one that systemd never hears of: it was our child, and is reaped.
   * Then we are the main process, and have failed. From here on nothing is reaped any more: who dies now is systemd's
   * when we are gone.
   */
  #lastLook(): void {
    if (!this.#guards || this.#options.service.generations.hasNewer()) return;
    tellServiceManagerAtOnce({ MAINPID: process.pid });
    process.exitCode = 1;
  }
}

/** What makes a host and its evidence what they are: with another one it is another daemon, to be started as such. */
function refuseOtherHost(running: Config, wanted: Config): void {
  const other = [
    ...(running.dataDir === wanted.dataDir ? [] : ['teleport.data_dir']),
    ...(running.auth.enabled && wanted.auth.enabled && running.auth.clusterName !== wanted.auth.clusterName
      ? ['auth_service.cluster_name']
      : []),
  ];
  if (other.length === 0) return;
  throw new AppError(
    'conflict',
    'reload.needs_restart',
    `${other.join(' and ')} cannot change while sessions live.`,
    {
      hint: 'Change it back, or stop the service and start it again.',
    },
  );
}

/** CLOCK_MONOTONIC, as systemd compares it. */
function monotonicUs(): number {
  return Math.round(Number(process.hrtime.bigint()) / 1_000);
}
