// The log in the database a page at a time, and as a stream. The database leaves out what cannot match, by index where
// there is one; what comes is tested exactly as lines of files are (event-filter.ts), so both say the same.
//
// A page reads the log in windows of its numbers, which grow while nothing is found: a rare event in a large log costs
// a few statements, none of which runs long, and the page ends when it took its time.
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, catalog } from '@sallyport/contracts/events/event.ts';
import type { Database } from '../postgres/database.ts';
import type { EventQuery } from './audit-log.ts';
import { eventFilter } from './event-filter.ts';
import { columnText } from './postgres-rows.ts';
import type { PostgresText, Span, TextDay } from './postgres-text.ts';
import type { EventPage, EventPages, PageQuery } from './search-page.ts';

export interface PostgresPageBounds {
  /** A page ends after so much time of searching, ms. */
  readonly searchMs: number;
  /** Bytes of the events of a page. */
  readonly answerBytes: number;
  /** Numbers of the first window. */
  readonly window: number;
}

interface Row {
  readonly seq: string;
  readonly line: string;
}

const defaultBounds: PostgresPageBounds = { searchMs: 1_000, answerBytes: 4 * 1024 * 1024, window: 50_000 };
/** Rows of one statement: lines may be long. */
const rowsAtOnce = 500;
/** A window that took longer is followed by smaller ones, ms: far from the time a statement may take. */
const longMs = 400;
const maxWindow = 1_000_000;
/** Clocks of the hosts and of the database may disagree a little; a day is left out of a search beyond that. */
const clockSlackMs = 3600 * 1000;
const dayMs = 24 * 3600 * 1000;

export class PostgresPages implements EventPages {
  readonly #database: Database;
  readonly #schema: string;
  readonly #text: PostgresText;
  readonly #bounds: PostgresPageBounds;
  /** Lines that were met and could not be read. */
  skippedLines = 0;

  /** `schema`: quoted. */
  constructor(
    database: Database,
    schema: string,
    text: PostgresText,
    bounds: Partial<PostgresPageBounds> = {},
  ) {
    this.#text = text;
    this.#database = database;
    this.#schema = schema;
    this.#bounds = { ...defaultBounds, ...bounds };
  }

  async page(query: PageQuery): Promise<EventPage> {
    const { order = 'asc', limit = 500 } = query;
    const page = new Page(query, limit, this.#bounds);
    const days = await this.#days(query, order);
    const start = query.startKey === undefined ? undefined : readKey(query.startKey, order);
    for (const { day, ...whole } of days) {
      const left =
        order === 'asc' ? { ...whole, from: Math.max(whole.from, start ?? 0) } : downFrom(whole, start);
      for await (const span of this.#text.spans({ day, ...left }, query.text, order)) {
        const next = await this.#read(page, query, day, span);
        if (next !== undefined) return { events: page.events, startKey: keyOf(order, next) };
      }
    }
    this.skippedLines += page.skipped;
    return { events: page.events, startKey: '' };
  }

  /** Resolves to where the next page begins, when this one is full before the span was read. */
  async #read(page: Page, query: PageQuery, day: string, span: Span): Promise<number | undefined> {
    const isUp = query.order !== 'desc';
    let from = isUp ? span.from : span.to - 1;
    if (span.from === span.to) page.looked();
    if (page.isFull) return from;
    let window = this.#bounds.window;
    while (isUp ? from < span.to : from >= span.from) {
      if (page.isFull) return from;
      const to = isUp ? Math.min(from + window, span.to) : Math.max(from - window, span.from - 1);
      const begun = performance.now();
      const rows = await this.#rows(query, day, from, to, Math.min(rowsAtOnce, page.room));
      const tookMs = performance.now() - begun;
      const taken = page.take(rows);
      // Less than asked for: the window holds no more.
      const last = rows[taken - 1]?.seq;
      const whole = taken === rows.length && rows.length < Math.min(rowsAtOnce, page.roomBefore);
      from = whole || last === undefined ? to : Number(last) + (isUp ? 1 : -1);
      if (tookMs > longMs) window = Math.max(Math.ceil(window / 4), 1_000);
      else if (whole) window = Math.min(2 * window, maxWindow);
    }
    return undefined;
  }

  async *search({ limit, ...query }: EventQuery): AsyncGenerator<AuditEvent> {
    let left = limit ?? Infinity;
    let startKey: string | undefined;
    while (left > 0 && startKey !== '') {
      const page: EventPage = await this.page({
        ...query,
        limit: Math.min(left, 2_000),
        ...(startKey === undefined ? {} : { startKey }),
      });
      yield* page.events;
      left -= page.events.length;
      ({ startKey } = page);
    }
  }

  /** In the order they are to be read. An event can be appended days after it happened, never before. */
  async #days(query: PageQuery, order: 'asc' | 'desc'): Promise<TextDay[]> {
    const rows = await this.#database.run<{ day: string; first_seq: string; last: string }>('search', {
      name: 'audit_days',
      text: `SELECT d.day::text AS day, d.first_seq, h.seq AS last
        FROM ${this.#schema}.log_days d, ${this.#schema}.log_head h ORDER BY d.day`,
    });
    const days = rows.map(({ day, first_seq, last }, i) => ({
      day,
      from: Number(first_seq),
      to: Number(rows[i + 1]?.first_seq ?? Number(last) + 1),
    }));
    const from = query.from === undefined ? Number.NEGATIVE_INFINITY : query.from.getTime() - clockSlackMs;
    const asked = days.filter(({ day }) => Date.parse(day) + dayMs > from);
    return order === 'asc' ? asked : asked.reverse();
  }

  /** Numbers from `from` up to before `to`, or from `from` down to after `to`. */
  #rows(query: PageQuery, day: string, from: number, to: number, limit: number): Promise<Row[]> {
    const { order = 'asc' } = query;
    const values: unknown[] = [];
    const value = (of: unknown) => `$${values.push(of)}`;
    // Not prepared: with the day at hand the planner looks at one partition.
    const where = [
      `day = ${value(day)}`,
      order === 'asc'
        ? `seq >= ${value(from)} AND seq < ${value(to)}`
        : `seq <= ${value(from)} AND seq > ${value(to)}`,
      ...conditions(query, value),
    ];
    return this.#database.run<Row>('search', {
      text: `SELECT seq, line FROM ${this.#schema}.events WHERE ${where.join(' AND ')}
        ORDER BY seq ${order} LIMIT ${value(limit)}`,
      values,
    });
  }
}

/** Necessary ones only: what passes is tested exactly. */
function conditions(
  { from, to, types, user, sid, text }: PageQuery,
  value: (of: unknown) => string,
): string[] {
  const all: string[] = [];
  if (from !== undefined) all.push(`time >= ${value(from.getTime())}`);
  if (to !== undefined) all.push(`time < ${value(to.getTime())}`);
  if (types !== undefined) {
    const names = types.map((type) => catalog.find(({ code }) => code === type)?.event ?? type);
    all.push(`event = ANY (${value([...new Set(names)])})`);
    all.push(`(event = ANY (${value(types)}) OR code = ANY (${value(types)}))`);
  }
  if (user !== undefined) all.push(`"user" = ${value(columnText(user))}`);
  if (sid !== undefined) all.push(`sid = ${value(columnText(sid))}`);
  const needle = text === undefined ? '' : plainPart(text);
  if (needle !== '') {
    const within = (part: string) => `position(${part} IN (line COLLATE "C")) > 0`;
    const plain = `position(${value(needle)} IN lower(line COLLATE "C")) > 0`;
    // The two characters beyond ASCII whose small form JavaScript writes with ASCII letters: Kelvin and dotted I.
    all.push(`(${[plain, within(`U&'\\212A'`), within(`U&'\\0130'`)].join(' OR ')})`);
  }
  return all;
}

/** The longest part of the text, as a line holds it, on whose small form databases and JavaScript agree. */
function plainPart(text: string): string {
  const parts =
    JSON.stringify(text)
      .slice(1, -1)
      .toLowerCase()
      .match(/[\x20-\x7e]+/g) ?? [];
  return parts.reduce((longest, part) => (part.length > longest.length ? part : longest), '');
}

class Page {
  readonly events: AuditEvent[] = [];
  skipped = 0;
  /** As it was for the rows that were taken last. */
  roomBefore: number;
  readonly #match: ReturnType<typeof eventFilter>;
  readonly #limit: number;
  readonly #bounds: PostgresPageBounds;
  readonly #begun = performance.now();
  #answer = 0;
  #reads = 0;

  constructor(query: PageQuery, limit: number, bounds: PostgresPageBounds) {
    this.#match = eventFilter(query);
    this.#limit = limit;
    this.#bounds = bounds;
    this.roomBefore = limit;
  }

  get room(): number {
    return this.#limit - this.events.length;
  }

  get isFull(): boolean {
    return this.room <= 0 || this.#answer >= this.#bounds.answerBytes || this.#isLate;
  }

  /** Not before it read something: each page gets on. */
  get #isLate(): boolean {
    return this.#reads > 0 && performance.now() - this.#begun >= this.#bounds.searchMs;
  }

  /** There was nothing to read, and that took time, too. */
  looked(): void {
    this.#reads++;
  }

  /** How many of the rows it took. */
  take(rows: readonly Row[]): number {
    this.roomBefore = this.room;
    this.#reads++;
    let taken = 0;
    for (const { line } of rows) {
      if (this.#answer >= this.#bounds.answerBytes) break;
      taken++;
      const found = this.#match(line);
      if (found === 'skipped') this.skipped++;
      if (found === undefined || found === 'skipped') continue;
      this.#answer += line.length;
      this.events.push(found);
    }
    return taken;
  }
}

function downFrom(whole: Span, start: number | undefined): Span {
  return start === undefined ? whole : { ...whole, to: Math.min(whole.to, start + 1) };
}

function keyOf(order: 'asc' | 'desc', seq: number): string {
  return Buffer.from(`${order} ${seq}`).toString('base64url');
}

function readKey(key: string, order: 'asc' | 'desc'): number | undefined {
  if (key === '') return undefined;
  const [, direction, seq] =
    /^(asc|desc) (\d{1,15})$/.exec(Buffer.from(key, 'base64url').toString('latin1')) ?? [];
  if (direction === order && seq !== undefined) return Number(seq);
  throw new AppError('bad_input', 'audit.bad_start_key', 'The start key is not one of a page in this order.');
}
