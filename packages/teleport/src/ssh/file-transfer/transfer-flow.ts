// Bytes between a client and the program that serves it files. Looked at first, passed on second, copied never:
// chunks go on as they came. A client that does not read stops the program, a program that does not read stops the
// client, and so does a log that has fallen behind.
import { finished, type Readable, type Writable } from 'node:stream';
import type { ChannelWriter, SessionChannel } from '../../ssh-transport/session-channel.ts';
import { giveBack } from '../bulk-buffers.ts';
import type { SessionPipes } from '../launch.ts';
import type { ByteCounts, FlowEnd, RecordOutput } from '../terminal-flow.ts';
import type { Follower } from './follower.ts';
import type { TransferLog } from './transfer-log.ts';

/** Requests under way, beyond which the client waits. Each is some hundred bytes here. */
const MAX_WAITING = 4_096;
/** Handed to the channel and not sent yet: what keeps the connection busy while the next chunk is read. */
const AHEAD_BYTES = 512 * 1024;

export interface TransferFlowOptions {
  readonly channel: SessionChannel;
  readonly pipes: SessionPipes;
  readonly follower: Follower;
  readonly log: TransferLog;
  readonly counts: ByteCounts;
  /** Output that is no file's content. */
  readonly record: RecordOutput;
  /** What passes is not what it should be: the session must end. Called once. */
  readonly broken: (what: string) => void;
}

export class TransferFlow {
  readonly #options: TransferFlowOptions;
  /** Resolves when the program says no more, or nobody hears it. */
  readonly output: Promise<FlowEnd>;
  #broken = false;

  constructor(options: TransferFlowOptions) {
    this.#options = options;
    this.#passInput(options.channel.stdin, options.pipes.stdin);
    this.output = this.#passOutput(options.pipes.stdout, options.channel.stdout);
  }

  /** Something has room again: does the client go on? */
  resumeInput(): void {
    const { channel, pipes } = this.#options;
    if (channel.stdin.isPaused() && !this.#holdsInput && !pipes.stdin.writableNeedDrain)
      channel.stdin.resume();
  }

  get #holdsInput(): boolean {
    const { follower, log } = this.#options;
    return follower.waiting > MAX_WAITING || log.isFull;
  }

  #passInput(source: Readable, sink: Writable): void {
    const { follower, log, counts } = this.#options;
    sink.on('error', () => {}); // EPIPE: the program does not read any more; its exit says what there is to say
    sink.on('drain', () => this.resumeInput());
    sink.on('close', () => source.resume()); // what still comes is dropped, so that the client's window never stalls
    source.on('data', (bytes: Buffer) => {
      counts.rx += bytes.length;
      if (this.#broken || !sink.writable) return;
      const wrong = follower.fromClient(bytes);
      if (wrong !== undefined) {
        this.#breaks(`the client sent ${wrong}`);
        return;
      }
      log.push(follower.take());
      if (!sink.write(bytes) || this.#holdsInput) source.pause();
    });
    finished(source, { writable: false }, () => sink.end());
  }

  #passOutput(source: Readable, writer: ChannelWriter): Promise<FlowEnd> {
    const { promise, resolve } = Promise.withResolvers<FlowEnd>();
    let ahead = 0;
    let ended = false;
    const sent = (bytes: Buffer, went: boolean) => {
      ahead -= bytes.length;
      giveBack(bytes);
      if (!went) resolve('closed');
      else this.#options.counts.tx += bytes.length;
      if (ended && ahead === 0) resolve('ended');
      else if (source.isPaused() && ahead < AHEAD_BYTES) source.resume();
    };
    source.on('data', (bytes: Buffer) => {
      const recorded = this.#look(bytes);
      if (recorded === undefined) return;
      ahead += bytes.length;
      if (ahead >= AHEAD_BYTES || recorded !== true) source.pause();
      if (recorded === true) void writer.write(bytes).then((went) => sent(bytes, went));
      else {
        void recorded.then(async (keeps) => {
          if (!keeps) resolve('forbidden');
          sent(bytes, keeps && (await writer.write(bytes)));
        });
      }
    });
    // Not 'end': a program that was gone before anybody listened has said that already.
    finished(source, { writable: false }, () => {
      ended = true;
      if (ahead === 0) resolve('ended');
    });
    return promise;
  }

  /** undefined: these bytes go nowhere. true: they may go. A promise: when they have been recorded, if they have. */
  #look(bytes: Buffer): true | Promise<boolean> | undefined {
    const { follower, log, record } = this.#options;
    if (this.#broken) return undefined;
    const wrong = follower.fromServer(bytes);
    if (wrong !== undefined) {
      this.#breaks(`the server answered ${wrong}`);
      return undefined;
    }
    log.push(follower.take());
    this.resumeInput();
    return follower.recordsOutput ? record(bytes) : true;
  }

  #breaks(what: string): void {
    this.#broken = true;
    this.#options.broken(what);
  }
}
