// Text search without reading every line: blocks of events have digests (text-digest.ts), made by one of the auth servers
// some seconds after the events came, so an append pays nothing for them. A search leaves out blocks that cannot hold the
// text; what has no digest yet is read as if there were none.
//
// Trigrams of PostgreSQL (pg_trgm, GIN) would name the lines themselves, but cost each append several times what it costs
// without, whenever they are merged, and more room than the lines; the extension is not everybody's to create.
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { textArray } from '../postgres/binary-array.ts';
import type { Database } from '../postgres/database.ts';
import { bitsOf, digestOf } from './text-digest.ts';

/** Numbers of a block. */
const blockEvents = 256;
/** Blocks of one statement. */
const blocksAtOnce = 8;
/** The server that makes digests keeps doing it; another takes over when it has said nothing for so long. */
const leaseSeconds = 30;
/** Numbers whose digests one statement looks at. */
const window = 1_000_000;

/** Numbers from `from` up to before `to`. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

export interface TextDay extends Span {
  readonly day: string;
}

interface Next extends TextDay {
  /** The day is over: its last block may be short. */
  readonly over: boolean;
}

export class PostgresText {
  readonly #database: Database;
  readonly #schema: string;
  readonly #holder = randomUUID();
  readonly #ending = new AbortController();
  #running: Promise<void> | undefined;

  /** `schema`: quoted. */
  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#schema = schema;
  }

  /** Makes what digests can be made, unless another server does. Never rejects: the next round tries again. */
  advance(): Promise<void> {
    this.#running ??= this.#advance()
      .catch(() => undefined)
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  async close(): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }

  /** Parts of `day` that may hold the text, in order; an empty one now and then tells how far the search is. */
  async *spans(day: TextDay, text: string | undefined, order: 'asc' | 'desc'): AsyncGenerator<Span> {
    const bits = text === undefined ? [] : bitsOf(text);
    if (bits.length === 0) {
      yield day;
      return;
    }
    for (let left = day.to - day.from; left > 0; ) {
      const size = Math.min(left, window);
      const from = order === 'asc' ? day.to - left : day.from + left - size;
      left -= size;
      const to = from + size;
      const spans = between({ from, to }, await this.#ruledOut(day.day, from, to, bits));
      yield* order === 'asc' ? spans : spans.reverse();
      const reached = order === 'asc' ? to : from;
      yield { from: reached, to: reached };
    }
  }

  /** Blocks that lack a bit. */
  async #ruledOut(day: string, from: number, to: number, bits: readonly number[]): Promise<Span[]> {
    const rows = await this.#database.run<{ first_seq: string; next_seq: string }>('search', {
      name: 'audit_text_blocks',
      text: `SELECT first_seq, next_seq FROM ${this.#schema}.text_blocks b
        WHERE day = $1 AND next_seq > $2 AND first_seq < $3 AND EXISTS (
          SELECT FROM unnest($4::int[]) AS t (bit), LATERAL (SELECT t.bit & (8 * octet_length(b.digest) - 1)) AS p (at)
          -- A byte of it: stored apart and as it is, no more than that is fetched.
          WHERE get_bit(substring(b.digest FROM p.at / 8 + 1 FOR 1), p.at % 8) = 0)
        ORDER BY first_seq`,
      values: [day, from, to, bits],
    });
    return rows.map(({ first_seq, next_seq }) => ({ from: Number(first_seq), to: Number(next_seq) }));
  }

  async #advance(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      const next = await this.#next();
      if (next === undefined) return;
      const begun = performance.now();
      await this.#make(next);
      // No more than half of the time: appends come first.
      const tookMs = performance.now() - begun;
      await delay(tookMs, undefined, { signal: this.#ending.signal }).catch(() => undefined);
    }
  }

  /** Of the day where digests end: what can be made at once. */
  async #next(): Promise<Next | undefined> {
    const [row] = await this.#database.run<{ day: string; from: string; to: string; over: boolean }>(
      'digest',
      {
        name: 'audit_text_next',
        text: `WITH mine AS (
          UPDATE ${this.#schema}.text_head SET holder = $1, until = now() + interval '${leaseSeconds} s'
          WHERE holder = $1 OR until < now() RETURNING next_seq)
        SELECT d.day::text, greatest(d.first_seq, m.next_seq) AS from, coalesce(d.next_seq, h.seq + 1) AS to,
          d.next_seq IS NOT NULL AS over
        FROM mine m, ${this.#schema}.log_head h,
          (SELECT day, first_seq, lead(first_seq) OVER (ORDER BY day) AS next_seq FROM ${this.#schema}.log_days) d
        WHERE coalesce(d.next_seq, h.seq + 1) > m.next_seq ORDER BY d.day LIMIT 1`,
        values: [this.#holder],
      },
    );
    if (row === undefined) return undefined;
    const from = Number(row.from);
    const there = Number(row.to) - from;
    const whole = Math.min(there, blockEvents * blocksAtOnce);
    const size = row.over ? whole : whole - (whole % blockEvents);
    return size === 0 ? undefined : { day: row.day, from, to: from + size, over: row.over };
  }

  async #make({ day, from, to }: Next): Promise<void> {
    const rows = await this.#database.run<{ seq: string; line: string }>('digest', {
      text: `SELECT seq, line FROM ${this.#schema}.events WHERE day = $1 AND seq >= $2 AND seq < $3 ORDER BY seq`,
      values: [day, from, to],
    });
    const digests: string[] = [];
    for (let first = from; first < to; first += blockEvents) {
      const block = rows.filter(({ seq }) => Number(seq) >= first && Number(seq) < first + blockEvents);
      digests.push(digestOf(block.map(({ line }) => line)).toString('hex'));
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    await this.#database.run('digest', {
      name: 'audit_text_make',
      text: `WITH moved AS (
          UPDATE ${this.#schema}.text_head SET next_seq = $3 WHERE holder = $5 AND next_seq <= $2 RETURNING 1)
        INSERT INTO ${this.#schema}.text_blocks (day, first_seq, next_seq, digest)
          SELECT $1::date, $2::bigint + (n - 1) * ${blockEvents},
            least($2::bigint + n * ${blockEvents}, $3::bigint), decode(digest, 'hex')
          FROM unnest($4::text[]) WITH ORDINALITY AS d (digest, n) WHERE EXISTS (SELECT FROM moved)
        ON CONFLICT DO NOTHING`,
      values: [day, from, to, textArray(digests), this.#holder],
    });
  }
}

/** What is left of it without the holes, which are in order. */
function between(whole: Span, holes: readonly Span[]): Span[] {
  const spans: Span[] = [];
  let { from } = whole;
  for (const hole of holes) {
    if (hole.from > from) spans.push({ from, to: hole.from });
    from = Math.max(from, Math.min(hole.to, whole.to));
  }
  return from < whole.to ? [...spans, { from, to: whole.to }] : spans;
}
