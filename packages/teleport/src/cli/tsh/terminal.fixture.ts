// A program on a terminal of its own, by script(1): what is typed arrives through a pty, what is shown is kept.
import { type ChildProcess, spawn } from 'node:child_process';
import { until } from './cluster.fixture.ts';

export class Terminal {
  static readonly #all: Terminal[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  shown = '';

  /** `command` is for sh; it may set the size first: `stty rows 24 cols 80; exec …`. */
  constructor(command: string, env: NodeJS.ProcessEnv) {
    const args = ['--quiet', '--flush', '--return', '--command', command, '/dev/null'];
    this.#child = spawn('script', args, { stdio: 'pipe', env: { ...env, SHELL: '/bin/sh' } });
    this.#child.stdin?.on('error', () => {});
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.shown += text;
    });
    this.#ended = new Promise((done) => this.#child.once('close', done));
    Terminal.#all.push(this);
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** What was shown since `from`, once it fits. */
  async shows(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    return until(
      `the terminal shows ${pattern}`,
      () => pattern.exec(this.shown.slice(from)) ?? undefined,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}; it shows:\n${this.shown}`);
    });
  }

  /** Exit status of the program. */
  ended(): Promise<number | null> {
    return this.#ended;
  }

  /** Those of tests that failed half-way. */
  static killAll(): void {
    for (const { child } of Terminal.#all.map((terminal) => ({ child: terminal.#child })))
      child.kill('SIGKILL');
  }
}
