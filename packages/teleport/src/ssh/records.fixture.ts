// The host's own books of log-ins, as utmpdump(1) prints them: a record a line, the fields in brackets.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync, statSync, writeFileSync } from 'node:fs';

export interface LoginRecord {
  /** ut_type of utmp(5): 6 LOGIN_PROCESS, 7 USER_PROCESS, 8 DEAD_PROCESS. */
  readonly type: number;
  readonly pid: number;
  readonly id: string;
  readonly user: string;
  readonly line: string;
  readonly host: string;
  readonly address: string;
}

export const books = { utmp: '/run/utmp', wtmp: '/var/log/wtmp', btmp: '/var/log/btmp' };

/** Containers and virtual machines without an init of their own lack utmp, which nobody makes but init. */
export function lendUtmp(): () => void {
  if (existsSync(books.utmp)) return () => {};
  writeFileSync(books.utmp, '', { mode: 0o664 });
  chmodSync(books.utmp, 0o664);
  return () => rmSync(books.utmp, { force: true });
}

/** Bytes of a book, to read on from. */
export function lengthOf(book: keyof typeof books): number {
  return existsSync(books[book]) ? statSync(books[book]).size : 0;
}

const recordBytes = 384; // sizeof(struct utmp), the same on every 64-bit Linux

export function recordsIn(book: keyof typeof books, from = 0): LoginRecord[] {
  const text = execFileSync('utmpdump', [books[book]], { stdio: 'pipe', maxBuffer: 1 << 28 }).toString();
  return text
    .split('\n')
    .filter(Boolean)
    .slice(from / recordBytes)
    .map((line) => {
      const fields = [...line.matchAll(/\[([^\]]*)\]/g)].map(([, field = '']) => field.trim());
      const [type, pid, id = '', user = '', tty = '', host = '', address = ''] = fields;
      return { type: Number(type), pid: Number(pid), id, user, line: tty, host, address };
    });
}
