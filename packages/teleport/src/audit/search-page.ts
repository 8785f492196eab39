// The log a page at a time. A page ends at its number of events, or after so much reading: a rare event in a large
// log is found over several pages, none of which takes long. The key of the next page is a place in the log, so
// pages stay true while the log grows, whichever way they go.
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import type { EventQuery } from './audit-log.ts';
import { eventFilter } from './event-filter.ts';
import { endOfDay, LogLayout } from './log-layout.ts';

export interface PageQuery extends Omit<EventQuery, 'limit'> {
  /** Events of a page. Default 500. */
  readonly limit?: number;
  /** Of the page before. */
  readonly startKey?: string;
}

export interface EventPage {
  readonly events: readonly AuditEvent[];
  /** Of the next page; empty: there is none. A page may be empty and have a next one. */
  readonly startKey: string;
}

/** What can be asked for a page: files here, a database in postgres-pages.ts. */
export interface EventPages {
  page(query: PageQuery): Promise<EventPage>;
}

export interface PageBounds {
  /** Bytes of the log read for a page. */
  readonly readBytes: number;
  /** Bytes of the events of a page. */
  readonly answerBytes: number;
}

const defaultBounds: PageBounds = { readBytes: 256 * 1024 * 1024, answerBytes: 4 * 1024 * 1024 };
const blockSize = 256 * 1024;
/** Clocks of the hosts and of the log may disagree a little; a file is left out of a search beyond that. */
const clockSlackMs = 3600 * 1000;

/** Pages of the FileLog in `logDir`. */
export class PagedSearch implements EventPages {
  readonly #layout: LogLayout;
  readonly #bounds: PageBounds;

  constructor(logDir: string, hostId: string, bounds: PageBounds = defaultBounds) {
    this.#layout = new LogLayout(logDir, hostId);
    this.#bounds = bounds;
  }

  async page(query: PageQuery): Promise<EventPage> {
    const { order = 'asc', limit = 500 } = query;
    const start = query.startKey === undefined ? undefined : readKey(query.startKey, order);
    const page = new Page(eventFilter(query), limit, this.#bounds);
    for (const file of await this.#files(query, order, start)) {
      const place = start?.file === basename(file) ? start.offset : undefined;
      const walk = order === 'asc' ? forward(file, place ?? 0) : backward(file, place);
      for await (const line of walk) {
        if (page.isFull) return { events: page.events, startKey: keyOf(order, file, line.before) };
        page.take(line.text);
      }
    }
    return { events: page.events, startKey: '' };
  }

  async #files(query: PageQuery, order: 'asc' | 'desc', start: Start | undefined): Promise<string[]> {
    const from = query.from === undefined ? Number.NEGATIVE_INFINITY : query.from.getTime() - clockSlackMs;
    const files = (await this.#layout.dayFiles()).filter((file) => endOfDay(file) > from);
    const inRange = files.filter((file) => {
      if (start === undefined) return true;
      return order === 'asc' ? basename(file) >= start.file : basename(file) <= start.file;
    });
    return order === 'asc' ? inRange : inRange.reverse();
  }
}

class Page {
  readonly events: AuditEvent[] = [];
  readonly #match: ReturnType<typeof eventFilter>;
  readonly #limit: number;
  readonly #bounds: PageBounds;
  #read = 0;
  #answer = 0;

  constructor(match: ReturnType<typeof eventFilter>, limit: number, bounds: PageBounds) {
    this.#match = match;
    this.#limit = limit;
    this.#bounds = bounds;
  }

  get isFull(): boolean {
    return (
      this.events.length >= this.#limit ||
      this.#read >= this.#bounds.readBytes ||
      this.#answer >= this.#bounds.answerBytes
    );
  }

  take(line: string): void {
    this.#read += line.length;
    const found = this.#match(line);
    if (found === undefined || found === 'skipped') return;
    this.#answer += line.length;
    this.events.push(found);
  }
}

interface Line {
  readonly text: string;
  /** Where the walk stands before it: its begin going forward, its end going backward. */
  readonly before: number;
}

async function* forward(path: string, from: number): AsyncGenerator<Line> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    let carry = Buffer.alloc(0);
    for (let at = from; at < size; ) {
      const { bytesRead, buffer } = await file.read(
        Buffer.allocUnsafe(Math.min(blockSize, size - at)),
        0,
        null,
        at,
      );
      if (bytesRead === 0) return;
      const data = Buffer.concat([carry, buffer.subarray(0, bytesRead)]);
      const base = at - carry.length;
      at += bytesRead;
      let begin = 0;
      for (let end = data.indexOf(0x0a); end >= 0; end = data.indexOf(0x0a, begin)) {
        yield { text: data.toString('utf8', begin, end), before: base + begin };
        begin = end + 1;
      }
      carry = data.subarray(begin);
    }
  } finally {
    await file.close();
  }
}

/** From `from`, where a line ends, or from the last whole line. */
async function* backward(path: string, from: number | undefined): AsyncGenerator<Line> {
  const file = await open(path, 'r');
  try {
    let carry = Buffer.alloc(0);
    let end = from ?? (await file.stat()).size;
    while (end > 0) {
      const start = Math.max(0, end - blockSize);
      const block = Buffer.allocUnsafe(end - start);
      await file.read(block, 0, block.length, start);
      const data = Buffer.concat([block, carry]);
      end = start;
      let behind = data.length;
      // Behind the last newline is nothing, or a line that is still being written.
      if (carry.length === 0) behind = data.lastIndexOf(0x0a) + 1;
      while (behind > 0) {
        const begin = behind < 2 ? 0 : data.lastIndexOf(0x0a, behind - 2) + 1;
        if (begin === 0 && start > 0) break; // it may begin in the block before
        yield { text: data.toString('utf8', begin, behind - 1), before: start + behind };
        behind = begin;
      }
      carry = data.subarray(0, behind);
    }
  } finally {
    await file.close();
  }
}

interface Start {
  readonly file: string;
  readonly offset: number;
}

function keyOf(order: 'asc' | 'desc', path: string, offset: number): string {
  return Buffer.from(`${order} ${basename(path)} ${offset}`).toString('base64url');
}

const keyText = /^(asc|desc) (\d{4}-\d{2}-\d{2}\.00:00:00\.log) (\d{1,15})$/;

function readKey(key: string, order: 'asc' | 'desc'): Start {
  const [, direction, file, offset] = keyText.exec(Buffer.from(key, 'base64url').toString('latin1')) ?? [];
  if (direction !== order || file === undefined) {
    throw new AppError(
      'bad_input',
      'audit.bad_start_key',
      'The start key is not one of a page in this order.',
    );
  }
  return { file, offset: Number(offset) };
}
