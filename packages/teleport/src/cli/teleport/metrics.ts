// What `/metrics` shows of a service. Figures are asked for when somebody reads them; only the two latencies are
// gathered as they happen.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { eventKinds } from '@sallyport/kernel/recorder.ts';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { AuditLog } from '../../audit/audit-log.ts';
import type { FileLog } from '../../audit/file-log.ts';
import type { Outbox } from '../../audit/outbox.ts';
import type { CountsByKind } from '../../ssh/enhanced/kernel-meter.ts';
import type { KernelSide } from '../../ssh/kernel-watch.ts';
import type { SessionRegistry } from '../../ssh/session-registry.ts';
import type { SshNode } from '../../ssh/ssh-server.ts';
import { DatabaseMetrics } from './database-metrics.ts';

const latencyBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30];

export class ServiceMetrics {
  readonly registry = new Registry();
  readonly databases = new DatabaseMetrics(this.registry);
  readonly #appended = new Histogram({
    ...named('audit_append_seconds', 'Time until the audit log had an append on the disk.'),
    buckets: latencyBuckets,
    registers: [this.registry],
  });
  readonly #appendFailures = new Counter({
    ...named('audit_append_failures_total', 'Appends the audit log refused; they are tried again.'),
    registers: [this.registry],
  });
  #lastFailure: string | undefined;

  constructor(version: string) {
    const info = new Gauge({
      ...named('info', 'Always 1; the labels say what runs.'),
      labelNames: ['version', 'node'],
      registers: [this.registry],
    });
    info.set({ version, node: process.version }, 1);
  }

  /** Memory, CPU, event loop. Watches the event loop from here on, so only for whoever shows it. */
  watchProcess(): void {
    collectDefaultMetrics({ register: this.registry });
  }

  /** The log, with its appends timed. */
  timed(log: AuditLog): AuditLog {
    return {
      append: async (events) => {
        const seconds = this.#appended.startTimer();
        try {
          await log.append(events);
          this.#lastFailure = undefined;
        } catch (thrown) {
          this.#appendFailures.inc();
          this.#lastFailure = thrown instanceof Error ? thrown.message : String(thrown);
          throw thrown;
        } finally {
          seconds();
        }
      },
      search: (query) => log.search(query),
      close: () => log.close(),
    };
  }

  /** Why the last append failed; undefined: it did not. */
  get auditFailure(): string | undefined {
    return this.#lastFailure;
  }

  audit(log: FileLog): void {
    this.#gauge('audit_queued_bytes', 'Audit events waiting for the disk.', () => log.stats.queuedBytes);
    this.#counter('audit_events_total', 'Events in the audit log.', () => log.stats.appendedEvents);
  }

  outbox(outbox: Outbox): void {
    this.#gauge(
      'outbox_held_events',
      'Events the auth service does not have yet.',
      () => outbox.stats.heldEvents,
    );
    this.#gauge('outbox_held_bytes', 'The same on disk.', () => outbox.stats.heldBytes);
    this.#counter(
      'outbox_refused_events_total',
      'Events the outbox had no room for.',
      () => outbox.stats.refusedEvents,
    );
    this.#counter(
      'outbox_lost_events_total',
      'Events the outbox can no longer read.',
      () => outbox.stats.lostEvents,
    );
  }

  ssh(node: SshNode, registry: SessionRegistry): void {
    this.#gauge('ssh_connections', 'Open SSH connections.', () => node.connections);
    this.#gauge(
      'sessions_live',
      'Sessions that have not ended, lingering ones included.',
      () => registry.size,
    );
  }

  kernel({ meter, link, spoolDir }: KernelSide, enabled: boolean): void {
    const delays = new Histogram({
      ...named('kernel_event_delay_seconds', 'From the kernel to the audit log, a batch’s newest event.'),
      buckets: latencyBuckets,
      registers: [this.registry],
    });
    meter.onBatch = (delayMs) => delays.observe(delayMs / 1000);
    const ofKind = (name: string, help: string, counts: CountsByKind) => this.#byKind(name, help, counts);
    ofKind('kernel_events_recorded_total', 'Kernel events in the audit log.', meter.recorded);
    ofKind('kernel_events_lost_total', 'Kernel events declared lost in the audit log.', meter.lost);
    ofKind('kernel_events_emitted_total', 'What the kernel emitted in sessions that ended.', meter.emitted);
    this.#gauge('spool_backlog_bytes', 'Spooled and not in the log yet.', () => meter.backlogBytes);
    this.#gauge('spool_bytes', 'Size of all session spools.', () => spoolBytes(spoolDir));
    if (!enabled) return;
    this.#gauge('recorder_up', '1 while the kernel recorder is connected.', () => (link.recorder ? 1 : 0));
    const stats = async () => await link.recorder?.stats().catch(() => undefined);
    this.#gauge('recorder_ring_used_bytes', 'Filling of the kernel’s ring.', async () => {
      return (await stats())?.ringUsed;
    });
    this.#gauge('recorder_ring_bytes', 'Size of the kernel’s ring.', () => link.recorder?.hello.ringSize);
  }

  #gauge(name: string, help: string, value: () => Figure | Promise<Figure>): void {
    new Gauge({
      ...named(name, help),
      registers: [this.registry],
      async collect() {
        const figure = await value();
        if (figure === undefined) this.reset();
        else this.set(figure);
      },
    });
  }

  #counter(name: string, help: string, value: () => number): void {
    new Counter({
      ...named(name, help),
      registers: [this.registry],
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  }

  #byKind(name: string, help: string, counts: CountsByKind): void {
    new Counter({
      ...named(name, help),
      labelNames: ['kind'],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const kind of eventKinds) this.inc({ kind }, counts[kind]);
      },
    });
  }
}

/** undefined: not known just now. */
type Figure = number | undefined;

function named(name: string, help: string) {
  return { name: `sallyport_${name}`, help };
}

/** A spool that ends while we look counts as nothing. */
async function spoolBytes(spoolDir: string): Promise<number> {
  const names = (await readdir(spoolDir).catch(() => [])).filter((name) => name.endsWith('.spool'));
  const sizes = await Promise.all(
    names.map((name) =>
      stat(join(spoolDir, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
