// Reverse tunnels to every proxy of the cluster: a person may come in by any of them. The configured address comes
// first (it may be a load balancer in front of all of them); proxies that the cluster tells of are dialled directly.
import type { ProxyDocument } from '@sallyport/contracts/api/resources.ts';
import { parseAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';
import type { Backoff } from './backoff.ts';
import type { ClusterCache } from './cluster-cache.ts';
import type { HostMember } from './host-member.ts';
import type { MembershipLog } from './membership-log.ts';
import { type TakeStream, TunnelAgent, type TunnelTarget } from './tunnel-agent.ts';

export interface TunnelPoolOptions {
  readonly member: HostMember;
  readonly cluster: Pick<ClusterCache, 'proxies' | 'onChange'>;
  /** Of proxy_server: the web port, where ALPN tells tunnels from the rest. */
  readonly configured: readonly Address[];
  readonly take: TakeStream;
  readonly now: () => Date;
  readonly log: MembershipLog;
  /** One for each agent. */
  readonly backoff?: () => Backoff;
  readonly keepaliveMs?: number;
}

export interface TunnelState {
  readonly address: Address;
  readonly proxyUuid: string | undefined;
  readonly problem: string | undefined;
}

export interface TunnelPool {
  /** Proxies this host can be reached by. */
  readonly connected: readonly string[];
  readonly tunnels: readonly TunnelState[];
  /** Something of the above has changed. */
  onChange(listener: () => void): () => void;
  /** Another process of this host has tunnels of its own. Those that stand stay until `close`, for what runs in them. */
  retire(): void;
  close(): Promise<void>;
}

const defaultTunnelPort = 3024;

interface Slot {
  readonly target: TunnelTarget;
  readonly agent: TunnelAgent;
}

class RunningPool implements TunnelPool {
  readonly #options: TunnelPoolOptions;
  readonly #slots = new Map<string, Slot>();
  readonly #listeners = new Set<() => void>();
  /** Proxy uuid → the slot that reaches it, or is about to. */
  readonly #claims = new Map<string, string>();
  /** Proxies with a tunnel. */
  readonly #up = new Set<string>();
  readonly #unsubscribe: () => void;
  readonly #leaving = new Set<Promise<void>>();

  constructor(options: TunnelPoolOptions) {
    this.#options = options;
    for (const address of options.configured) {
      this.#add(`configured ${address.host}:${address.port}`, {
        address,
        tls: true,
        proxyUuid: undefined,
      });
    }
    this.#unsubscribe = options.cluster.onChange(() => this.#discover());
    this.#discover();
  }

  get connected(): readonly string[] {
    return [...this.#up];
  }

  get tunnels(): readonly TunnelState[] {
    return [...this.#slots.values()].map(({ target, agent }) => ({
      address: target.address,
      proxyUuid: agent.proxyUuid,
      problem: agent.problem,
    }));
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  retire(): void {
    this.#unsubscribe();
    for (const { agent } of this.#slots.values()) agent.retire();
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    for (const name of [...this.#slots.keys()]) this.#remove(name);
    await Promise.all(this.#leaving);
  }

  #discover(): void {
    const found = new Map(this.#options.cluster.proxies.flatMap(targetOf));
    for (const [name, { target }] of this.#slots) {
      if (name.startsWith('configured ')) continue;
      const now = found.get(name);
      // Gone, or moved: what runs through the old tunnel ends when the proxy does.
      if (now === undefined || JSON.stringify(now) !== JSON.stringify(target)) this.#remove(name);
    }
    for (const [name, target] of found) if (!this.#slots.has(name)) this.#add(name, target);
  }

  #add(name: string, target: TunnelTarget): void {
    const { member, take, now, log, backoff, keepaliveMs } = this.#options;
    const agent = new TunnelAgent({
      target,
      member,
      take,
      now,
      log,
      ...(backoff === undefined ? {} : { backoff: backoff() }),
      ...(keepaliveMs === undefined ? {} : { keepaliveMs }),
      claim: (proxyUuid) => this.#claim(name, proxyUuid),
      onUp: (proxyUuid) => {
        this.#up.add(proxyUuid);
        this.#changed();
      },
      onDown: () => this.#release(name),
    });
    this.#slots.set(name, { target, agent });
    agent.start();
  }

  #remove(name: string): void {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    this.#slots.delete(name);
    this.#release(name);
    const leaving = slot.agent.close().finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  /** The first tunnel to a proxy stays; another one to the same is not needed. */
  #claim(name: string, proxyUuid: string): boolean {
    if (!this.#slots.has(name)) return false;
    const holder = this.#claims.get(proxyUuid);
    if (holder === undefined) this.#claims.set(proxyUuid, name);
    return holder === undefined || holder === name;
  }

  #release(name: string): void {
    const released = [...this.#claims]
      .filter(([, holder]) => holder === name)
      .map(([proxyUuid]) => proxyUuid);
    if (released.length === 0) return;
    for (const proxyUuid of released) {
      this.#claims.delete(proxyUuid);
      this.#up.delete(proxyUuid);
      // Whoever waits because this one was first.
      this.#slots.get(proxyUuid)?.agent.retry();
    }
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

export function startTunnelPool(options: TunnelPoolOptions): TunnelPool {
  return new RunningPool(options);
}

function targetOf({ metadata, spec }: ProxyDocument): [string, TunnelTarget][] {
  const address = parseAddress(spec.tunnel_addr, defaultTunnelPort);
  if (address === undefined) return [];
  // With TLS routing, one port for everything: then it is the web port.
  const tls = spec.tunnel_addr === spec.web_addr;
  return [[metadata.name, { address, tls, proxyUuid: metadata.name }]];
}
