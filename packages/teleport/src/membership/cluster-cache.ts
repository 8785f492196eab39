// What this host knows of its cluster: trust, roles, locks, nodes, proxies, fed by the `watch` of auth and kept on disk,
// so that it decides log-ins while auth is away and after a restart in such a time. It serves what it has, and says
// how old that is; it never makes up that something ended.
import type { AuthRoutes, Trust } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import type {
  AuthServerDocument,
  ClusterSettingsDocument,
  LockDocument,
  NodeDocument,
  ProxyDocument,
  ResourceDocumentKind,
  RoleDocument,
  StaticHostUserDocument,
} from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { Backoff, pause } from './backoff.ts';
import { CacheSnapshot } from './cache-snapshot.ts';
import type { MembershipLog } from './membership-log.ts';
import { ResourceSet } from './resource-set.ts';

export interface ClusterCacheOptions {
  readonly client: Pick<Client<AuthRoutes>, 'watch'>;
  readonly kinds: readonly ResourceDocumentKind[];
  /** `<data_dir>/cluster-cache.json`, 0600. */
  readonly path: string;
  /** Until authorities were heard of by the watch: what the join has brought. */
  readonly trust: Trust;
  readonly now: () => Date;
  readonly log: MembershipLog;
  /** No line for so long: the link is dead (auth says `alive` every 4 s). Default 45 s. */
  readonly silenceMs?: number;
  readonly backoff?: Backoff;
}

/** How fresh it is. */
export interface CacheState {
  /** The watch is up, and all that changed is here. */
  readonly connected: boolean;
  /** When the last line of the watch was heard, in this run or an earlier one. */
  readonly heard: Date | undefined;
  /** Why it is not connected. */
  readonly problem: string | undefined;
}

type Line = Parameters<ResourceSet['apply']>[0] | { readonly type: 'alive' };

export class ClusterCache {
  readonly #options: ClusterCacheOptions;
  readonly #snapshot: CacheSnapshot;
  readonly #listeners = new Set<() => void>();
  readonly #ending = new AbortController();
  readonly #backoff: Backoff;
  #resources: ResourceSet;
  #synced: boolean;
  #connected = false;
  #heard: Date | undefined;
  #problem: string | undefined = 'no connection yet';
  #trust: Trust;
  #running: Promise<void> = Promise.resolve();
  #attempt = new AbortController();
  /** Up to where what is served is known, for the next watch; undefined: auth is of a version that tells none. */
  #position: string | undefined = '';

  private constructor(options: ClusterCacheOptions, snapshot: CacheSnapshot) {
    this.#options = options;
    this.#snapshot = snapshot;
    this.#backoff = options.backoff ?? new Backoff({ firstMs: 500, maxMs: 15_000 });
    this.#resources = snapshot.loaded?.resources ?? new ResourceSet();
    this.#heard = snapshot.loaded?.heard;
    this.#synced = snapshot.loaded !== undefined;
    this.#trust = trustIn(this.#resources, options.trust);
  }

  /** With what an earlier run kept; the watch begins at once. */
  static async start(options: ClusterCacheOptions): Promise<ClusterCache> {
    const snapshot = await CacheSnapshot.open(options.path, options.trust.cluster_name, options.log);
    const cache = new ClusterCache(options, snapshot);
    cache.#running = cache.#run();
    return cache;
  }

  /** False until the first full state was read, from auth or from what an earlier run kept. */
  get synced(): boolean {
    return this.#synced;
  }

  get state(): CacheState {
    return { connected: this.#connected, heard: this.#heard, problem: this.#problem };
  }

  get trust(): Trust {
    return this.#trust;
  }

  get nodes(): readonly NodeDocument[] {
    return this.#resources.of('node');
  }

  get proxies(): readonly ProxyDocument[] {
    return this.#resources.of('proxy');
  }

  get authServers(): readonly AuthServerDocument[] {
    return this.#resources.of('auth_server');
  }

  get roles(): readonly RoleDocument[] {
    return this.#resources.of('role');
  }

  /** Those in force. Locks end by the clock, auth reachable or not. */
  get locks(): readonly LockDocument[] {
    const now = this.#options.now();
    return this.#resources
      .of('lock')
      .filter(({ metadata }) => metadata.expires === undefined || new Date(metadata.expires) > now);
  }

  get staticHostUsers(): readonly StaticHostUserDocument[] {
    return this.#resources.of('static_host_user');
  }

  /** Of the auth host's configuration. undefined: nothing was heard of it yet. */
  get settings(): ClusterSettingsDocument['spec'] | undefined {
    return this.#resources.of('cluster_settings')[0]?.spec;
  }

  /** Something that is served here is different now. Heartbeats that only prolong a life are not told. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves once there is a full state; rejects when the signal aborts before. */
  whenSynced(signal: AbortSignal): Promise<void> {
    if (this.#synced) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stop = this.onChange(() => {
      if (this.#synced) resolve();
    });
    const onAbort = () =>
      reject(new AppError('unavailable', 'membership.not_synced', 'Nothing was heard of the cluster yet.'));
    signal.addEventListener('abort', onAbort, { once: true });
    return promise.finally(() => {
      stop();
      signal.removeEventListener('abort', onAbort);
    });
  }

  /** Another process of this host keeps the file from now on. */
  stopKeeping(): void {
    this.#snapshot.stop();
  }

  /** Watches anew: this host's certificate was renewed. What is served stays. */
  reconnect(): void {
    this.#backoff.reset();
    this.#attempt.abort();
  }

  /** What is known is on disk when it resolves. */
  async close(): Promise<void> {
    this.#ending.abort();
    this.#attempt.abort();
    await this.#running;
    await this.#snapshot.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      this.#attempt = new AbortController();
      const wanted = this.#attempt.signal;
      try {
        await this.#watch(wanted);
        this.#lost(new AppError('unavailable', 'membership.watch_ended', 'The watch was ended by auth.'));
      } catch (error) {
        const lost = AppError.from(error);
        if (lost.kind !== 'unavailable') this.#position = lost.kind === 'bad_input' ? undefined : '';
        this.#lost(lost);
      }
      // A reconnect that was asked for does not wait.
      if (!wanted.aborted) await pause(this.#backoff.next(), AbortSignal.any([signal, wanted]));
    }
  }

  async #watch(wanted: AbortSignal): Promise<void> {
    const silence = new AbortController();
    const { silenceMs = 45_000, kinds, client } = this.#options;
    const timer = setTimeout(() => silence.abort(new Error('nothing was heard')), silenceMs);
    try {
      const signal = AbortSignal.any([wanted, silence.signal]);
      // A set of its own until all is here: what was deleted while nobody listened must go, and nothing before that.
      let filling: ResourceSet | undefined = new ResourceSet();
      const after = this.#position === undefined ? {} : { after: this.#position };
      for await (const line of client.watch({ query: { kinds: kinds.join(','), ...after } }, { signal })) {
        timer.refresh();
        if (line.type === 'resumed') filling = undefined;
        else filling = this.#take(line, filling);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Answers with the set that is still being filled, if it is. */
  #take(line: Line, filling: ResourceSet | undefined): ResourceSet | undefined {
    this.#heard = this.#options.now();
    if (line.type === 'alive') return filling;
    if (filling !== undefined && line.type !== 'synced') {
      filling.apply(line);
      return filling;
    }
    const changed = filling === undefined ? this.#resources.apply(line) : !this.#resources.same(filling);
    if (line.type === 'synced') this.#becomeSynced(filling ?? this.#resources);
    this.#position = line.position ?? this.#position;
    if (changed || line.type === 'synced') this.#changed();
    return undefined;
  }

  #becomeSynced(resources: ResourceSet): void {
    this.#resources = resources;
    this.#synced = true;
    this.#connected = true;
    this.#problem = undefined;
    this.#backoff.reset();
  }

  #changed(): void {
    this.#trust = trustIn(this.#resources, this.#trust);
    this.#snapshot.save(() => ({ resources: this.#resources, heard: this.#heard }));
    for (const listener of this.#listeners) listener();
  }

  #lost(error: AppError): void {
    const was = this.#connected;
    const told = this.#problem === error.message;
    this.#connected = false;
    this.#problem = error.message;
    if (this.#ending.signal.aborted || this.#attempt.signal.aborted) return;
    const fields = { problem: error.message, heard: this.#heard?.toISOString() };
    const { log } = this.#options;
    if (was) log.warn(fields, 'the watch of auth was lost; going on with what is known');
    // Waiting does not help against a refusal.
    else if (error.kind !== 'unavailable' && !told) log.warn(fields, 'auth refuses to be watched');
    else log.debug(fields, 'auth cannot be watched');
  }
}

/** Both authorities, or what was trusted before: half of it would lock out one side of the cluster. */
function trustIn(resources: ResourceSet, before: Trust): Trust {
  const authorities = resources.of('cert_authority').map(({ spec }) => spec);
  const host = authorities.find(({ type }) => type === 'host');
  const user = authorities.find(({ type }) => type === 'user');
  if (host === undefined || user === undefined || host.cluster_name !== before.cluster_name) return before;
  const trust: Trust = {
    cluster_name: before.cluster_name,
    ssh_host_cas: host.ssh,
    ssh_user_cas: user.ssh,
    tls_host_cas: host.tls,
    tls_user_cas: user.tls,
  };
  // The same object for the same trust: others compare by identity.
  return JSON.stringify(trust) === JSON.stringify(before) ? before : trust;
}
