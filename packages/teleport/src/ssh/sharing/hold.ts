// A session that waits for those who must be there. Nothing of it has run: its process stands before its exec. The
// owner sees who is awaited, may give up with ctrl-c, and does not wait for ever.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { SessionChannel } from '../../ssh-transport/session-channel.ts';

const ctrlC = 0x03;

export class Hold {
  readonly #channel: SessionChannel;
  readonly #limitMs: number;
  readonly #released = Promise.withResolvers<void>();

  constructor(channel: SessionChannel, limitMs: number) {
    this.#channel = channel;
    this.#limitMs = limitMs;
    // Whoever aborts a session that does not wait rejects a promise that nobody looks at.
    this.#released.promise.catch(() => {});
  }

  release(): void {
    this.#released.resolve();
  }

  abort(reason: AppError): void {
    this.#released.reject(reason);
  }

  async until(missing: string): Promise<void> {
    const { stdin } = this.#channel;
    this.#say(`This session waits until somebody comes: ${missing}.\r\nPress ctrl-c to give up.`);
    const timer = setTimeout(() => this.abort(nobodyCame(missing)), this.#limitMs);
    // What is typed meanwhile goes nowhere: it was meant for a shell that is not there.
    const onInput = (bytes: Buffer) => {
      if (bytes.includes(ctrlC)) this.abort(gaveUp());
    };
    stdin.on('data', onInput);
    try {
      await this.#released.promise;
      this.#say('Everybody is here; the session begins.');
    } finally {
      clearTimeout(timer);
      stdin.off('data', onInput);
      stdin.pause();
    }
  }

  #say(text: string): void {
    if (this.#channel.isOpen) void this.#channel.stderr.write(Buffer.from(`${text}\r\n`));
  }
}

function nobodyCame(missing: string): AppError {
  return new AppError('unavailable', 'session.nobody_came', `Nobody came in time: ${missing}.`);
}

function gaveUp(): AppError {
  return new AppError('unavailable', 'session.given_up', 'You gave up waiting.');
}
