// The nodes that keep a reverse tunnel to this proxy. New streams go through a node's newest connection; an older one
// keeps the streams it has, and takes over again when the newer one ends.
import type { Duplex } from 'node:stream';
import { redialChannel, tunnelChannel } from '@sallyport/contracts/api/tunnel.ts';
import type { TunnelOpening } from '@sallyport/contracts/api/tunnel-opening.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { SshConnection } from '../ssh-transport/ssh-server.ts';
import type { ConnectedAgent } from './proxy.ts';

/** A node that proved who it is. */
export interface AgentIdentity {
  readonly hostUuid: string;
}

type AgentConnection = Pick<
  SshConnection<AgentIdentity>,
  'identity' | 'remote' | 'channels' | 'close' | 'closed' | 'openChannel'
>;

interface Entry {
  readonly connection: AgentConnection;
  readonly since: Date;
}

// A node redials when it believes its connection dead, long before our keepalives know; and one that learns of this
// proxy under two addresses dials twice and hangs up the second time. More than a few are a fault of the node.
// Each daemon of a node that drains keeps one, too.
const maxPerHost = 16;
/** After the start of a proxy its nodes come back within that, and whoever asks for one waits for it, ms. */
const comingBackMs = 10_000;

const none = Buffer.alloc(0);

export class Agents {
  readonly #max: number;
  readonly #began = performance.now();
  /** By host uuid: who waits for its tunnel. */
  readonly #awaited = new Map<string, Set<() => void>>();
  /** By host uuid, the newest connection last. Never empty lists. */
  readonly #entries = new Map<string, readonly Entry[]>();

  constructor(max: number) {
    this.#max = max;
  }

  get count(): number {
    return this.#entries.size;
  }

  get list(): readonly ConnectedAgent[] {
    return [...this.#entries].flatMap(([hostUuid, entries]) => {
      const newest = entries.at(-1);
      const streams = entries.reduce((sum, { connection }) => sum + connection.channels, 0);
      return newest ? [{ hostUuid, remote: newest.connection.remote, since: newest.since, streams }] : [];
    });
  }

  /** False: there are too many nodes, and the connection was closed. */
  add(connection: AgentConnection, now: Date): boolean {
    const { hostUuid } = connection.identity;
    const before = this.#entries.get(hostUuid) ?? [];
    if (before.length === 0 && this.#entries.size >= this.#max) {
      connection.close('this proxy has no place for more agents');
      return false;
    }
    this.#entries.set(hostUuid, [...before, { connection, since: now }]);
    void connection.closed.then(() => this.#remove(connection));
    for (const arrived of this.#awaited.get(hostUuid) ?? []) arrived();
    if (before.length >= maxPerHost) before[0]?.connection.close('replaced by newer connections');
    return true;
  }

  /** Ends the connections of nodes that may not stay. */
  sweep(reasonToGo: (hostUuid: string) => string | undefined): void {
    for (const [hostUuid, entries] of [...this.#entries]) {
      const reason = reasonToGo(hostUuid);
      if (reason !== undefined) for (const { connection } of entries) connection.close(reason);
    }
  }

  /** A byte stream into the node's SSH server. Rejects with an AppError. */
  async open(hostUuid: string, opening: TunnelOpening): Promise<Duplex> {
    const payload = Buffer.from(JSON.stringify(opening));
    let problem = new AppError('unavailable', 'proxy.no_tunnel', 'it keeps no tunnel to this proxy');
    await this.#arrival(hostUuid);
    // The newest may be dead and not know it yet.
    for (const { connection } of (this.#entries.get(hostUuid) ?? []).toReversed()) {
      try {
        return await connection.openChannel(tunnelChannel, payload);
      } catch (error) {
        problem = AppError.from(error);
      }
    }
    throw problem;
  }

  /** Each agent dials anew, to whoever listens now. Those that do not know how stay with us until we end. */
  retire(): void {
    for (const entries of this.#entries.values())
      for (const { connection } of entries) connection.openChannel(redialChannel, none).catch(() => {});
  }

  /** Resolves when the host has a tunnel, or has had its time. */
  #arrival(hostUuid: string): Promise<void> {
    const leftMs = this.#began + comingBackMs - performance.now();
    if (this.#entries.has(hostUuid) || leftMs <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const waiting = this.#awaited.get(hostUuid) ?? new Set();
      this.#awaited.set(hostUuid, waiting);
      const done = () => {
        clearTimeout(timer);
        waiting.delete(done);
        if (waiting.size === 0) this.#awaited.delete(hostUuid);
        resolve();
      };
      const timer = setTimeout(done, leftMs);
      waiting.add(done);
    });
  }

  #remove(connection: AgentConnection): void {
    const { hostUuid } = connection.identity;
    const left = (this.#entries.get(hostUuid) ?? []).filter((entry) => entry.connection !== connection);
    if (left.length === 0) this.#entries.delete(hostUuid);
    else this.#entries.set(hostUuid, left);
  }
}
