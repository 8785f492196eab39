// Labels whose values commands print (ssh_service.commands). Each is run without a shell, as root, again and again;
// its value is the first line it prints. While a command gives none, its label's value says why, as "error: …", and
// the label counts as unknown: no role allows anything by it, and every role that denies by it denies.
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { NodeLog } from './node-log.ts';

export interface LabelCommand {
  readonly name: string;
  /** Program and arguments. */
  readonly command: readonly string[];
  readonly periodMs: number;
}

export interface MeasuredLabels {
  readonly values: Readonly<Record<string, string>>;
  /** Names of those that have no value now. */
  readonly unknown: ReadonlySet<string>;
}

export interface DynamicLabelsOptions {
  readonly log: NodeLog;
  /** A command that takes longer is killed; never longer than its period. */
  readonly timeoutMs?: number;
  /** Changes are told at most so often. */
  readonly noticeMs?: number;
}

/** Bytes of a value. What is printed beyond it, or behind the first line, is read and forgotten. */
export const maxValueBytes = 4096;
const defaultTimeoutMs = 10_000;
const defaultNoticeMs = 10_000;
/** How long a start waits for values. */
const firstRoundMs = 5_000;

export class DynamicLabels {
  readonly #options: DynamicLabelsOptions;
  readonly #values = new Map<string, string>();
  readonly #unknown = new Set<string>();
  readonly #ending = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #rounds: Promise<void>[];
  readonly #firstRound: Promise<unknown>;
  #notice: NodeJS.Timeout | undefined;

  constructor(commands: readonly LabelCommand[], options: DynamicLabelsOptions) {
    this.#options = options;
    for (const { name } of commands) this.#keep(name, { problem: 'no answer yet' });
    const firsts = commands.map(() => Promise.withResolvers<void>());
    this.#rounds = commands.map((command, i) => this.#repeat(command, () => firsts[i]?.resolve()));
    this.#firstRound = Promise.all(firsts.map(({ promise }) => promise));
  }

  get now(): MeasuredLabels {
    return { values: Object.fromEntries(this.#values), unknown: this.#unknown };
  }

  /** Resolves when each command has been run once, or a start cannot wait any longer. */
  async first(): Promise<void> {
    const { signal } = this.#ending;
    await Promise.race([this.#firstRound, delay(firstRoundMs, undefined, { signal, ref: false })]).catch(
      () => {},
    );
  }

  /** A value changed. Several changes in a while are told once. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#ending.abort();
    clearTimeout(this.#notice);
    await Promise.all(this.#rounds);
  }

  async #repeat(command: LabelCommand, ran: () => void): Promise<void> {
    const { signal } = this.#ending;
    const timeoutMs = Math.min(this.#options.timeoutMs ?? defaultTimeoutMs, command.periodMs);
    while (!signal.aborted) {
      const outcome = await measure(command.command, timeoutMs, signal);
      if (!signal.aborted) this.#keep(command.name, outcome);
      ran();
      await delay(command.periodMs, undefined, { signal }).catch(() => {});
    }
  }

  #keep(name: string, outcome: Outcome): void {
    const value = 'value' in outcome ? outcome.value : `error: ${outcome.problem}`;
    if (this.#values.get(name) === value) return;
    const isNew = !this.#values.has(name);
    this.#values.set(name, value);
    if ('value' in outcome) this.#unknown.delete(name);
    else this.#unknown.add(name);
    if (isNew) return;
    if ('problem' in outcome)
      this.#options.log.warn({ label: name, problem: outcome.problem }, 'a label has no value');
    this.#notice ??= setTimeout(() => this.#tell(), this.#options.noticeMs ?? defaultNoticeMs).unref();
  }

  #tell(): void {
    this.#notice = undefined;
    for (const listener of this.#listeners) listener();
  }
}

type Outcome = { readonly value: string } | { readonly problem: string };

/** Never rejects. */
async function measure(command: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<Outcome> {
  const [program = '', ...args] = command;
  // A group of its own, so that what it starts ends with it. Nothing of the daemon's environment is its business.
  const child = spawn(program, args, {
    cwd: '/',
    detached: true,
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    killGroup(child);
  }, timeoutMs);
  const stop = () => killGroup(child);
  signal.addEventListener('abort', stop);
  try {
    const head = gatherHead(child);
    const problem = await ending(child);
    if (late) return { problem: `timed out after ${timeoutMs} ms` };
    return problem === undefined ? { value: firstLine(head()) } : { problem };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

function gatherHead(child: ChildProcess): () => Buffer {
  const chunks: Buffer[] = [];
  let length = 0;
  child.stdout?.on('data', (chunk: Buffer) => {
    if (length >= maxValueBytes) return;
    chunks.push(chunk.subarray(0, maxValueBytes - length));
    length += chunk.length;
  });
  return () => Buffer.concat(chunks);
}

/** Why there is no value; undefined: it exited with 0. */
function ending(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      resolve(
        error.code === 'ENOENT' ? 'no such program' : `it cannot be run (${error.code ?? error.message})`,
      ),
    );
    child.once('exit', () => {
      // Something it left behind may hold the pipe: the value is what was printed until now.
      setTimeout(() => child.stdout?.destroy(), 50).unref();
    });
    child.once('close', (code, signal) => {
      if (signal !== null) resolve(`ended by ${signal}`);
      else resolve(code === 0 ? undefined : `exit status ${code}`);
    });
  });
}

/** It ends up on terminals and in logs: no control characters, blanks at neither end. */
function firstLine(head: Buffer): string {
  const newline = head.indexOf('\n');
  const line = newline < 0 ? head : head.subarray(0, newline);
  return line.toString('utf8').replace(/\p{C}/gu, ' ').trim();
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
