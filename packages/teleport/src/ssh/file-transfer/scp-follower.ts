// Reads the stream of OpenSSH's `scp -O` as it passes: who sends says `C0644 size name`, `D0755 0 name`, `E`, `T…`, or
// \1 and \2 with a complaint; who receives answers each line and each file with \0 or a complaint of its own. An event
// a file. What is no such stream (a start-up file that prints) ends the following, not the command: it is told once,
// and from there on all that the command puts out is recorded, as of any other.
import { textField } from '@sallyport/contracts/events/bytes.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { type SessionFacts, sessionAndConnectionBlocks } from '../session-facts.ts';
import type { Follower } from './follower.ts';
import type { ScpCommand } from './scp-command.ts';

/** A name of 4096 bytes and what stands in front; complaints are cut. */
const MAX_LINE_BYTES = 8 * 1024;
/** As deep as paths go. */
const MAX_DEPTH = 2_048;
/** A sender that does not wait for its answers runs ahead of them by so much and no more. */
const MAX_UNANSWERED = 1_024;

interface File {
  readonly name: readonly string[];
  readonly bytes: number;
  /** Its sender's own word. */
  error?: string | undefined;
}

/** What an answer is awaited for. */
type Asked = { readonly of: 'line' | 'folder' } | { readonly of: 'file' | 'contents'; readonly file: File };

const NEWLINE = 0x0a;

export class ScpFollower implements Follower {
  readonly waiting = 0; // each side waits for the other
  readonly #facts: SessionFacts;
  readonly #command: ScpCommand;
  readonly #unanswered: Asked[] = [{ of: 'line' }]; // the receiver speaks first
  readonly #folders: string[] = [];
  readonly #lines = { sender: new LineReader(), receiver: new LineReader() };
  /** The file announced or under way. */
  #file: File | undefined;
  /** Of its contents. undefined: announced, and nothing of it has come. */
  #left: number | undefined;
  #lost = false;
  #events: EventDraft[] = [];

  constructor(facts: SessionFacts, command: ScpCommand) {
    this.#facts = facts;
    this.#command = command;
  }

  get recordsOutput(): boolean {
    return this.#lost;
  }

  fromClient(bytes: Buffer): undefined {
    if (this.#command.action === 'upload') this.#sent(bytes);
    else this.#received(bytes);
  }

  fromServer(bytes: Buffer): undefined {
    if (this.#command.action === 'upload') this.#received(bytes);
    else this.#sent(bytes);
  }

  take(): EventDraft[] {
    const taken = this.#events;
    if (taken.length > 0) this.#events = [];
    return taken;
  }

  end(): EventDraft[] {
    const files = new Set(this.#unanswered.flatMap((asked) => ('file' in asked ? [asked.file] : [])));
    if (this.#file) files.add(this.#file);
    if (!this.#lost)
      for (const file of files) this.#emit(file, file.error ?? 'the session ended before its end');
    return this.take();
  }

  // ── who sends ───────────────────────────────────────────────────────────────────────────────────────────────

  #sent(bytes: Buffer): void {
    for (let at = 0; at < bytes.length && !this.#lost; ) {
      if (this.#file && this.#left === undefined) this.#left = this.#file.bytes; // accepted, or not waited for
      if (this.#file && this.#left) {
        const part = Math.min(this.#left, bytes.length - at);
        this.#left -= part;
        at += part;
      } else if (this.#file && bytes[at] === 0 && this.#lines.sender.isEmpty) {
        this.#sentAll(this.#file);
        at += 1;
      } else
        at = this.#lines.sender.read(
          bytes,
          at,
          (line) => this.#said(line),
          () => this.#lose(),
        );
    }
  }

  #sentAll(file: File): void {
    this.#file = undefined;
    this.#left = undefined;
    this.#await({ of: 'contents', file });
  }

  #said(line: string): void {
    const [kind, rest] = [line.charAt(0), line.slice(1)];
    if (isComplaint(line)) this.#complained(rest);
    else if (this.#file) this.#lose();
    else if (kind === 'C') this.#announced(rest);
    else if (kind === 'D') this.#entered(rest);
    else if (kind === 'E' && this.#folders.length > 0) this.#leftFolder();
    else if (kind === 'T') this.#await({ of: 'line' });
    else this.#lose();
  }

  /** Of the file it was sending, or instead of one. */
  #complained(text: string): void {
    const file = this.#file;
    if (!file) {
      this.#emit(undefined, text);
      return;
    }
    file.error = text;
    this.#sentAll(file);
  }

  #announced(rest: string): void {
    const found = /^[0-7]{4,5} ([0-9]{1,15}) (.+)$/.exec(rest);
    if (!found) {
      this.#lose();
      return;
    }
    this.#file = { name: [...this.#folders, found[2] ?? ''], bytes: Number(found[1]) };
    this.#left = undefined;
    this.#await({ of: 'file', file: this.#file });
  }

  #entered(rest: string): void {
    const name = /^[0-7]{4,5} [0-9]+ (.+)$/.exec(rest)?.[1];
    if (name === undefined || this.#folders.length >= MAX_DEPTH) {
      this.#lose();
      return;
    }
    this.#folders.push(name);
    this.#await({ of: 'folder' });
  }

  #leftFolder(): void {
    this.#folders.pop();
    this.#await({ of: 'line' });
  }

  #await(asked: Asked): void {
    if (this.#unanswered.length >= MAX_UNANSWERED) this.#lose();
    else this.#unanswered.push(asked);
  }

  // ── who receives ────────────────────────────────────────────────────────────────────────────────────────────

  #received(bytes: Buffer): void {
    for (let at = 0; at < bytes.length && !this.#lost; ) {
      const reader = this.#lines.receiver;
      if (reader.isEmpty && bytes[at] === 0) {
        this.#answered(undefined);
        at += 1;
      } else
        at = reader.read(
          bytes,
          at,
          (line) => this.#refused(line),
          () => this.#lose(),
        );
    }
  }

  #refused(line: string): void {
    if (isComplaint(line)) this.#answered(line.slice(1));
    else this.#lose();
  }

  #answered(error: string | undefined): void {
    const asked = this.#unanswered.shift();
    if (!asked) {
      this.#lose();
    } else if (asked.of === 'contents') {
      this.#emit(asked.file, asked.file.error ?? error);
    } else if (error !== undefined) {
      this.#turnedDown(asked, error);
    }
  }

  #turnedDown(asked: Asked, error: string): void {
    if (asked.of === 'folder') this.#folders.pop();
    if (!('file' in asked)) {
      this.#emit(undefined, error);
      return;
    }
    this.#emit(asked.file, error);
    if (this.#file !== asked.file) return;
    if (this.#left !== undefined) this.#lose(); // its contents come all the same: nobody can tell how they are taken
    this.#file = undefined;
  }

  // ── events ──────────────────────────────────────────────────────────────────────────────────────────────────

  #lose(): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#emit(this.#file, 'what passes is not the stream of a copy; the rest is recorded as output');
  }

  #emit(file: File | undefined, error: string | undefined): void {
    const { action } = this.#command;
    const number = action === 'upload' ? 'T3005' : 'T3004';
    const draft = {
      event: 'scp',
      code: `${number}${error === undefined ? 'I' : 'E'}`,
      ...sessionAndConnectionBlocks(this.#facts),
      command: this.#facts.command,
      action,
      ...placeOf(this.#command, file),
      ...(error === undefined ? {} : { exitError: plain(error) }),
    };
    // Code and action are paired above, which the compiler cannot follow; the catalog checks each event.
    this.#events.push(draft as unknown as EventDraft);
  }
}

/** \1: of one file; \2: the last words. */
const isComplaint = (line: string) => line.startsWith('\x01') || line.startsWith('\x02');

/** What the protocol tells: the whole path where it is certain, else what the client asked for and what came there. */
function placeOf({ action, path, intoFolder }: ScpCommand, file: File | undefined) {
  if (!file) return { path };
  const name = file.name.join('/');
  const text = (full: string) => textField('path', Buffer.from(full, 'latin1'));
  const base = Buffer.from(path).toString('latin1');
  const [top = ''] = file.name;
  const slash = base.lastIndexOf('/') + 1;
  const size = { size: file.bytes };
  if (intoFolder) return { ...text(`${base.replace(/\/$/, '')}/${name}`), ...size };
  const wild = action === 'download' && /[*?[\]{}]/.test(base.slice(slash));
  if (wild || base.slice(slash) === top) return { ...text(base.slice(0, slash) + name), ...size };
  return { path, name: Buffer.from(name, 'latin1').toString(), ...size };
}

/** A complaint begins with `scp: `, and may be of any bytes. */
function plain(text: string): string {
  return Buffer.from(text, 'latin1')
    .toString()
    .replace(/^scp: /, '')
    .replaceAll(/\p{Cc}/gu, '?')
    .slice(0, 1_024);
}

/** Lines across chunks, as latin1: their bytes are kept. */
class LineReader {
  #held: Buffer[] = [];
  #length = 0;

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** Reads to the end of one line at most; tells how far it came. */
  read(bytes: Buffer, at: number, line: (text: string) => void, tooLong: () => void): number {
    const newline = bytes.indexOf(NEWLINE, at);
    const end = newline < 0 ? bytes.length : newline;
    this.#length += end - at;
    if (this.#length > MAX_LINE_BYTES) {
      tooLong();
      return bytes.length;
    }
    this.#held.push(Buffer.from(bytes.subarray(at, end)));
    if (newline < 0) return end;
    const text = Buffer.concat(this.#held).toString('latin1');
    this.#held = [];
    this.#length = 0;
    line(text);
    return newline + 1;
  }
}
