// Is somebody whose presence is required still there? A connection that was cut says so at once; one that a network
// swallowed says nothing. So it is asked, often: silence suspends the session, long silence is a leaving.

/** Between an answer and the next question, ms. */
const askMs = 200;
/** An answer that is outstanding for so long is silence, ms: with what follows, less than a second. */
const silentMs = 500;
/** And for so long, the end, ms. */
const deadMs = 10_000;

export interface PulseOptions {
  /** Resolves with the answer; with undefined when the connection is gone. */
  readonly ping: () => Promise<number | undefined>;
  readonly silent: (silent: boolean) => void;
  readonly dead: () => void;
}

export class Pulse {
  readonly #options: PulseOptions;
  #timers: NodeJS.Timeout[] = [];
  #silent = false;
  #stopped = false;

  constructor(options: PulseOptions) {
    this.#options = options;
    void this.#beat();
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  async #beat(): Promise<void> {
    const { ping, dead } = this.#options;
    while (!this.#stopped) {
      this.#timers = [setTimeout(() => this.#hear(false), silentMs), setTimeout(dead, deadMs)];
      await ping();
      for (const timer of this.#timers) clearTimeout(timer);
      if (this.#stopped) return;
      this.#hear(true);
      await new Promise<void>((resolve) => {
        this.#timers = [setTimeout(resolve, askMs)];
      });
    }
  }

  #hear(answered: boolean): void {
    if (this.#silent === !answered) return;
    this.#silent = !answered;
    this.#options.silent(this.#silent);
  }
}
