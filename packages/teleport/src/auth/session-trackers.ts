// Which sessions live where: what nodes reported in the last two minutes, and who sees what of it. Says what was
// reported; whether somebody really gets in is decided by the node, by the same function.
import {
  type JoinMode,
  joinModes,
  type SessionReport,
  type SessionTracker,
} from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Caller } from './api/handler.ts';
import { readHost } from './join/hosts.ts';
import type { Parts } from './parts.ts';
import { joinableModes } from './sharing/join-decision.ts';
import type { Store, Write } from './store/store.ts';

/** Nodes report again after a third of it. */
export const trackerTtlMs = 120_000;

const prefix = 'session_tracker/';
const keyOf = (sid: string) => prefix + sid;

interface Kept extends SessionReport {
  readonly server_id: string;
  readonly hostname: string;
}

type HostCaller = Extract<Caller, { readonly kind: 'host' }>;

export class SessionTrackers {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** A node speaks of its own sessions only: an id that another node has reported stays that node's. */
  async report(
    live: readonly SessionReport[],
    over: readonly string[],
    { hostUuid }: HostCaller,
  ): Promise<{ expires: string }> {
    const { store, now, log } = this.#parts;
    const host = await readHost(store, hostUuid);
    if (host === undefined)
      throw new AppError('denied', 'auth.no_host', 'This host was removed from the cluster.');
    const expires = new Date(now().getTime() + trackerTtlMs);
    const shared = { server_id: hostUuid, hostname: host.record.nodename };
    const writes = [
      ...live.map((report): Write => {
        const kept: Kept = { ...report, ...shared };
        return { type: 'put', key: keyOf(report.sid), value: JSON.stringify(kept), expires };
      }),
      ...over.map((sid): Write => ({ type: 'delete', key: keyOf(sid) })),
    ];
    const own = await ownOnly(store, writes, hostUuid);
    if (own.length < writes.length)
      log.warn({ host: hostUuid }, 'a node reported sessions that are those of another node');
    if (own.length > 0) await store.commit(own);
    return { expires: expires.toISOString() };
  }

  /** Oldest first. */
  async list(caller: Caller): Promise<SessionTracker[]> {
    const items = await this.#parts.store.range(prefix);
    const view = await this.#viewOf(caller);
    return items
      .flatMap((item) => view(JSON.parse(item.value) as Kept, item.expires) ?? [])
      .sort((a, b) => (a.spec.started < b.spec.started ? -1 : 1));
  }

  /** What one may not see is not there. */
  async get(sid: string, caller: Caller): Promise<SessionTracker> {
    const item = await this.#parts.store.get(keyOf(sid));
    const view = await this.#viewOf(caller);
    const seen = item && view(JSON.parse(item.value) as Kept, item.expires);
    if (seen !== undefined) return seen;
    throw new AppError('not_found', 'auth.no_session', `There is no live session ${sid}.`, {
      hint: '`tsh sessions ls` lists those you may see.',
    });
  }

  async #viewOf(
    caller: Caller,
  ): Promise<(kept: Kept, expires: Date | undefined) => SessionTracker | undefined> {
    if (caller.kind === 'admin') return (kept, expires) => trackerOf(kept, expires, []);
    if (caller.kind !== 'user')
      throw new AppError('denied', 'auth.not_allowed', 'Users may do this; hosts may not.');
    const { user, directory } = { user: caller.user, directory: this.#parts.directory };
    const { roles } = await directory.account(user);
    const seesAll = (await directory.permits(caller, 'session', 'list')).ok;
    return (kept, expires) => {
      const session = { owner: kept.owner, ownerRoles: kept.owner_roles };
      const modes = joinableModes({ user, roles, session });
      const sees = seesAll || kept.owner === user || modes.length > 0;
      return sees ? trackerOf(kept, expires, modes) : undefined;
    };
  }
}

async function ownOnly(store: Store, writes: readonly Write[], hostUuid: string): Promise<Write[]> {
  const foreign = await Promise.all(
    writes.map(async ({ key }) => {
      const item = await store.get(key);
      return item !== undefined && (JSON.parse(item.value) as Kept).server_id !== hostUuid;
    }),
  );
  return writes.filter((_, index) => foreign[index] === false);
}

function trackerOf(
  { sid, ...kept }: Kept,
  expires: Date | undefined,
  modes: readonly JoinMode[],
): SessionTracker {
  return {
    kind: 'session_tracker',
    version: 'v1',
    metadata: { name: sid, expires: (expires ?? new Date(0)).toISOString() },
    spec: { ...kept, kind: 'ssh', join_modes: joinModes.filter((mode) => modes.includes(mode)) },
  };
}
