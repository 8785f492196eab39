// What must hold for each session, whatever happened in it.
import assert from 'node:assert/strict';
import type { SeenEvent } from './one-node.fixture.ts';

export function only(events: readonly SeenEvent[], name: string): SeenEvent[] {
  return events.filter(({ event }) => event === name);
}

/** `path arg arg`, as the log has it. */
export function commandLines(events: readonly SeenEvent[]): string[] {
  return only(events, 'session.command')
    .filter((event) => event['return_code'] === 0)
    .map((event) => [event['path'], ...(event['argv'] as string[])].join(' '));
}

/** `ei` grows from line to line. session.data has a fixed position behind everything, and session.end follows it. */
export function assertAscending(events: readonly SeenEvent[]): void {
  const positions = events.filter(({ event }) => event !== 'session.data').map(({ ei }) => ei);
  const wrong = positions.findIndex((ei, i) => i > 0 && ei <= (positions[i - 1] as number));
  assert.equal(wrong, -1, `ei ${positions[wrong]} follows ${positions[wrong - 1]}`);
}

/**
 * session.start first, session.end last; every kernel event once, none missing; and the kernel's own totals
 * agree with what stands in the log.
 */
export function assertWhole(events: readonly SeenEvent[]): void {
  assert.equal(events[0]?.event, 'session.start');
  const end = events.at(-1);
  assert.equal(end?.event, 'session.end');
  assert.equal(end?.['enhanced_recording'], true);
  assert.equal(only(events, 'session.end').length, 1);
  const seqs = events.flatMap((event) => (typeof event['seq'] === 'number' ? [event['seq']] : []));
  const expected = seqs.map((_, i) => i + 1);
  assert.deepEqual(
    [...seqs].sort((a, b) => a - b),
    expected,
    'seq is not contiguous',
  );
  const totals = Object.values(end?.['enhanced_totals'] as Record<string, Record<string, number>>);
  for (const { emitted = 0, recorded = 0, lost = 0 } of totals) assert.equal(emitted, recorded + lost);
  const recorded = totals.reduce((sum, { recorded: n = 0 }) => sum + n, 0);
  assert.equal(recorded, seqs.length, 'the totals are not the log’s');
  assertAscending(events);
}
