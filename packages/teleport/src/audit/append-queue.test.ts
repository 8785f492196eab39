import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import { AppendQueue } from './append-queue.ts';
import type { AuditLog } from './audit-log.ts';
import { commandEvent } from './event.fixture.ts';

/** A log whose disk is full until told otherwise. */
class FullLog implements AuditLog {
  error: AppError | undefined = new AppError('unavailable', 'audit.disk_full', 'full');
  readonly events: AuditEvent[] = [];
  async append(events: readonly AuditEvent[]): Promise<void> {
    if (this.error !== undefined) throw this.error;
    this.events.push(...events);
  }
  async *search(): AsyncGenerator<AuditEvent> {
    yield* this.events;
  }
  async close(): Promise<void> {}
}

describe('the append queue', () => {
  it('keeps events while the disk is full and writes them in order when it is not', async () => {
    const log = new FullLog();
    let retries = 0;
    const queue = new AppendQueue(log, {
      retryMs: 1,
      onRetry: () => {
        if (++retries === 3) log.error = undefined;
      },
    });
    await Promise.all([queue.push([commandEvent(0)]), queue.push([commandEvent(1), commandEvent(2)])]);
    assert.deepEqual(
      log.events.map((event) => event.ei),
      [0, 1, 2],
    );
    assert.equal(queue.heldEvents, 0);
    await queue.close();
  });

  it('refuses what goes beyond its bound', async () => {
    const log = new FullLog();
    const queue = new AppendQueue(log, { retryMs: 1, maxEvents: 3 });
    const held = queue.push([commandEvent(0), commandEvent(1)]);
    await assert.rejects(queue.push([commandEvent(2), commandEvent(3)]), {
      code: 'audit.queue_full',
      kind: 'limit',
    });
    log.error = undefined;
    await held;
    assert.equal(log.events.length, 2);
    await queue.close();
  });

  it('tries once more when closed, then tells the caller that the events are not written', async () => {
    const queue = new AppendQueue(new FullLog(), { retryMs: 60_000 });
    const held = queue.push([commandEvent(0)]);
    const rejected = assert.rejects(held, { code: 'audit.disk_full' });
    await queue.close();
    await rejected;
    await assert.rejects(queue.push([commandEvent(1)]), { code: 'audit.closed' });
  });

  it('does not try again what can never succeed', async () => {
    const log = new FullLog();
    log.error = new AppError('internal', 'audit.broken', 'a bug');
    const queue = new AppendQueue(log, { retryMs: 1 });
    await assert.rejects(queue.push([commandEvent(0)]), { code: 'audit.broken' });
    await queue.close();
  });
});
