// The daemon before us, as the one that takes over from it sees it. Should it die meanwhile, nothing is handed down any
// more, and what we ask for is answered with nothing: then this is an ordinary start.
import { Server, type Socket } from 'node:net';
import { type HeirAnswer, type HeirMessage, heirVariable } from './messages.ts';
import type { Handed } from './sockets.ts';

/** Node's own channel to the parent process. */
type Channel = Pick<NodeJS.Process, 'on' | 'send' | 'connected'>;

export class Predecessor {
  readonly #channel: Channel;
  readonly #asked = new Map<number, (handed: Handed | undefined) => void>();
  #count = 0;

  private constructor(channel: Channel) {
    this.#channel = channel;
    channel.on('message', (message: unknown, handle: unknown) => this.#answered(message, handle));
    channel.on('disconnect', () => {
      for (const answer of this.#asked.values()) answer(undefined);
      this.#asked.clear();
    });
    // Not a reason to live.
    process.channel?.unref();
  }

  /** undefined: this daemon was started by somebody else. */
  static find(): Predecessor | undefined {
    const takesOver = process.env[heirVariable] !== undefined && process.send !== undefined;
    // Of what we start nobody takes over from us by accident.
    delete process.env[heirVariable];
    return takesOver ? new Predecessor(process) : undefined;
  }

  readonly socket = (key: string): Promise<Handed | undefined> =>
    this.#ask((id) => ({ ask: 'socket', key, id }));

  async yieldAuth(): Promise<void> {
    await this.#ask((id) => ({ ask: 'yield-auth', id }));
  }

  /** We serve: it may stop accepting. */
  ready(): void {
    this.#tell({ tell: 'ready' });
  }

  /** It goes on, and says why. */
  failed(message: string): void {
    this.#tell({ tell: 'failed', message });
  }

  #ask(question: (id: number) => HeirMessage): Promise<Handed | undefined> {
    if (!this.#channel.connected) return Promise.resolve(undefined);
    this.#count += 1;
    const id = this.#count;
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
      this.#tell(question(id));
    });
  }

  #tell(message: HeirMessage): void {
    // It may be gone by now: then there is nobody to tell.
    if (this.#channel.connected) this.#channel.send?.(message, undefined, {}, () => {});
  }

  #answered(message: unknown, handle: unknown): void {
    const { answer } = message as HeirAnswer;
    const resolve = this.#asked.get(answer);
    this.#asked.delete(answer);
    // Node listens on it from this moment on, asked or not.
    if (!(handle instanceof Server)) {
      resolve?.(undefined);
      return;
    }
    const early: Socket[] = [];
    handle.on('connection', (socket) => early.push(socket));
    if (resolve) resolve({ server: handle, early });
    else handle.close();
  }
}
