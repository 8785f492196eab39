// What `/metrics` shows of the databases of an auth server: nothing where there is none.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { OpenedAuditLog } from '../../audit/open-audit-log.ts';
import type { OpenedStore } from '../../auth/store/open-store.ts';
import type { DatabaseStats } from '../../postgres/database.ts';

/** What the database is of. */
type Use = 'store' | 'audit';

const latencyBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15];

export class DatabaseMetrics {
  readonly #registry: Registry;
  readonly #operations: Histogram;
  readonly #pools = new Map<Use, () => DatabaseStats | undefined>();

  constructor(registry: Registry) {
    this.#registry = registry;
    this.#operations = new Histogram({
      ...named('operation_seconds', 'Time of an operation, its retries included.'),
      labelNames: ['of', 'operation', 'failed'],
      buckets: latencyBuckets,
      registers: [registry],
    });
    this.#ofPools('connections', 'Connections of the pool.', 'gauge', ({ connections }) => connections);
    this.#ofPools('idle_connections', 'Those nobody uses.', 'gauge', ({ idle }) => idle);
    this.#ofPools('waiting_operations', 'Operations that wait for one.', 'gauge', ({ waiting }) => waiting);
    this.#ofPools('retries_total', 'Attempts after a first one failed.', 'counter', ({ retries }) => retries);
    this.#ofPools('lost_connections_total', 'Connections that broke or hung.', 'counter', ({ lost }) => lost);
  }

  /** For the store and the log, as they are opened. */
  observer(of: Use): (operation: string, seconds: number, failed: boolean) => void {
    return (operation, seconds, failed) =>
      this.#operations.observe({ of, operation, failed: String(failed) }, seconds);
  }

  store({ stats }: Pick<OpenedStore, 'stats'>): void {
    if (stats() === undefined) return;
    this.#pools.set('store', stats);
    const gauge = (name: string, help: string, value: () => number) => this.#store(name, help, value);
    gauge(
      'watch_lag_seconds',
      'From the newest change’s commit until the watches had it.',
      () => (stats()?.watchLagMs ?? 0) / 1000,
    );
    gauge('watches', 'Watches of the store.', () => stats()?.watches ?? 0);
    gauge('watch_resumes', 'Times the change log’s connection was made anew.', () => stats()?.resumes ?? 0);
    gauge('pending_commits', 'Commits that wait for their batch.', () => stats()?.pending ?? 0);
  }

  audit({ stats }: Pick<OpenedAuditLog, 'stats'>): void {
    if (stats().length === 0) return;
    // Of several databases the first: it is the one whose positions count.
    const first = () => stats()[0]?.[1];
    this.#pools.set('audit', first);
    new Gauge({
      name: 'sallyport_database_audit_queued_bytes',
      help: 'Audit events waiting for the database.',
      registers: [this.#registry],
      collect() {
        this.set(first()?.queuedBytes ?? 0);
      },
    });
    new Counter({
      name: 'sallyport_database_audit_events_total',
      help: 'Events this server put into the database.',
      registers: [this.#registry],
      collect() {
        this.reset();
        this.inc(first()?.appendedEvents ?? 0);
      },
    });
  }

  #store(name: string, help: string, value: () => number): void {
    new Gauge({
      name: `sallyport_store_${name}`,
      help,
      registers: [this.#registry],
      collect() {
        this.set(value());
      },
    });
  }

  #ofPools(name: string, help: string, kind: 'gauge' | 'counter', figure: (stats: DatabaseStats) => number) {
    const pools = this.#pools;
    const options = { ...named(name, help), labelNames: ['of'] as const, registers: [this.#registry] };
    const figures = () =>
      [...pools].flatMap(([of, stats]) => {
        const now = stats();
        return now === undefined ? [] : [[{ of }, figure(now)] as const];
      });
    if (kind === 'gauge') {
      new Gauge({
        ...options,
        collect() {
          for (const [labels, value] of figures()) this.set(labels, value);
        },
      });
      return;
    }
    new Counter({
      ...options,
      collect() {
        this.reset();
        for (const [labels, value] of figures()) this.inc(labels, value);
      },
    });
  }
}

function named(name: string, help: string) {
  return { name: `sallyport_database_${name}`, help };
}
