// The daemon's signals as promises. Made before anything is opened; what comes during the start waits until it is over.
import type { NodeLog } from '../../ssh/node-log.ts';

const stops = ['SIGTERM', 'SIGINT'] as const;

export class Signals {
  /** Resolves at the first SIGTERM or SIGINT. */
  readonly stop: Promise<NodeJS.Signals>;
  /** Resolves at SIGQUIT. */
  readonly quit: Promise<NodeJS.Signals>;
  #hungUp = false;
  #onHangUp: () => void = () => {
    this.#hungUp = true;
  };

  constructor(log: NodeLog) {
    const first = (names: readonly NodeJS.Signals[]) =>
      new Promise<NodeJS.Signals>((resolve) => {
        for (const name of names) {
          process.once(name, () => {
            log.debug({ signal: name }, 'asked to stop');
            resolve(name);
          });
        }
      });
    this.stop = first(stops);
    this.quit = first(['SIGQUIT']);
    process.on('SIGHUP', () => this.#onHangUp());
  }

  /** Called for each SIGHUP; at once for one that came before. */
  onHangUp(listener: () => void): void {
    this.#onHangUp = listener;
    if (this.#hungUp) listener();
  }

  /** Resolves at the next SIGTERM or SIGINT. */
  again(): Promise<void> {
    return new Promise((resolve) => {
      for (const name of stops) process.once(name, () => resolve());
    });
  }
}
