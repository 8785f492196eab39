// Is somebody whose presence is required still there? A connection that was cut says so at once; one that a network
// swallowed says nothing. So it is asked, often: silence is told, long silence is a leaving.
//
// Questions do not wait for each other's answers: a line with a long delay answers as often as it is asked, and only
// what stops answering is silent.

/** Between two questions, ms. */
const askMs = 200;
/** No answer for so long is silence, ms: with what follows from it, less than a second. */
const silentMs = 500;
/** Questions without an answer yet: lines with a delay of seconds are asked less often. */
const maxAsked = 16;

export interface PulseOptions {
  /** Resolves with the answer; with undefined when the connection is gone. */
  readonly ping: () => Promise<number | undefined>;
  readonly silent: (silent: boolean) => void;
  /** Called once. */
  readonly dead: () => void;
  /** Silence of so long, all of it, is the end, ms. Less than what is noticed: the end at once. */
  readonly limitMs: number;
}

export class Pulse {
  readonly #options: PulseOptions;
  readonly #asking: NodeJS.Timeout;
  #silence: NodeJS.Timeout | undefined;
  #asked = 0;
  #answers = 0;
  #isSilent = false;
  #stopped = false;

  constructor(options: PulseOptions) {
    this.#options = options;
    this.#asking = setInterval(() => this.#ask(), askMs);
    this.#await();
    this.#ask();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#asking);
    clearTimeout(this.#silence);
  }

  #ask(): void {
    if (this.#asked >= maxAsked) return;
    this.#asked += 1;
    void this.#options.ping().then((ms) => {
      this.#asked -= 1;
      // The end of the connection is no sign of life; the channel tells it.
      if (ms !== undefined && !this.#stopped) this.#hear();
    });
  }

  #hear(): void {
    this.#answers += 1;
    clearTimeout(this.#silence);
    this.#await();
    if (!this.#isSilent) return;
    this.#isSilent = false;
    this.#options.silent(false);
  }

  #await(): void {
    const before = this.#answers;
    this.#silence = setTimeout(() => {
      // Where this process itself was held up, answers may lie unread: they are read before this is looked at again.
      setImmediate(() => {
        if (this.#answers === before && !this.#stopped) this.#fallSilent();
      });
    }, silentMs);
  }

  #fallSilent(): void {
    const { limitMs, silent } = this.#options;
    if (limitMs <= silentMs) {
      this.#die();
      return;
    }
    this.#isSilent = true;
    this.#silence = setTimeout(() => this.#die(), limitMs - silentMs);
    silent(true);
  }

  #die(): void {
    this.stop();
    this.#options.dead();
  }
}
