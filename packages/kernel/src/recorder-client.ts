// The recorder behind its control socket. One connection, requests told apart by id, answers in any order.
// A peer that breaks the protocol, or goes away, ends the connection once and fails every open request.
import { EventEmitter } from 'node:events';
import { connect, type Socket } from 'node:net';
import { constants } from 'node:os';
import {
  type ControlFrame,
  ControlStream,
  controlFrame,
  decodeError,
  decodeHello,
  decodeList,
  decodeProgress,
  decodeSession,
  decodeSessionTotals,
  decodeStats,
  decodeWatched,
  encodeSession,
  encodeWatch,
} from './control-frames.ts';
import type {
  Recorder,
  RecorderEvents,
  RecorderHello,
  RecorderStats,
  SessionTotals,
  Watched,
  WatchedSession,
  WatchRequest,
} from './recorder.ts';
import { RecorderError, type RecorderErrorKind } from './recorder-error.ts';
import { control_type } from './wire.gen.ts';

export interface ConnectOptions {
  readonly socketPath: string;
  /** From connecting to the recorder's hello. */
  readonly helloTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
  /** `end` waits for a barrier through every ring. */
  readonly endTimeoutMs?: number;
}

interface Pending {
  /** Type of the frame that answers. */
  readonly type: number;
  /** False when the body cannot be read. */
  readonly answer: (body: Buffer) => boolean;
  readonly fail: (error: RecorderError) => void;
  readonly timer: NodeJS.Timeout;
}

/** Open requests a connection may have; a daemon with more is not waiting for its answers. */
const maxPending = 1024;

export class RecorderClient extends EventEmitter<RecorderEvents> implements Recorder {
  readonly hello: RecorderHello;
  readonly #socket: Socket;
  readonly #stream: ControlStream;
  readonly #pending = new Map<number, Pending>();
  readonly #requestTimeoutMs: number;
  readonly #endTimeoutMs: number;
  #lastId = 0;
  #closed = false;

  private constructor(socket: Socket, greeting: Greeting, options: ConnectOptions) {
    super();
    this.#socket = socket;
    this.#stream = greeting.stream;
    this.hello = greeting.hello;
    this.#requestTimeoutMs = options.requestTimeoutMs ?? 10_000;
    this.#endTimeoutMs = options.endTimeoutMs ?? 60_000;
    let failure: Error | undefined;
    socket.on('error', (error) => {
      failure = error;
    });
    socket.on('close', () => this.#finish(gone(failure)));
    socket.on('data', (chunk) => this.#received(this.#stream.push(chunk)));
    // The greeting left the socket paused: whoever awaits connect() can subscribe before anything arrives.
    setImmediate(() => {
      this.#received(greeting.early);
      socket.resume();
    });
  }

  static async connect(options: ConnectOptions): Promise<RecorderClient> {
    const socket = connect(options.socketPath);
    try {
      const greeting = await greet(socket, options.helloTimeoutMs ?? 5_000);
      return new RecorderClient(socket, greeting, options);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  async watch(request: WatchRequest): Promise<Watched> {
    return this.#request(control_type.CONTROL_WATCH, encodeWatch(request), decodeWatched);
  }

  async end(sessionId: string): Promise<SessionTotals> {
    const body = encodeSession(sessionId);
    return this.#request(control_type.CONTROL_END, body, decodeSessionTotals, {
      answerType: control_type.CONTROL_TOTALS,
      timeoutMs: this.#endTimeoutMs,
    });
  }

  async totals(sessionId: string): Promise<SessionTotals> {
    return this.#request(control_type.CONTROL_TOTALS, encodeSession(sessionId), decodeSessionTotals);
  }

  async list(): Promise<readonly WatchedSession[]> {
    return this.#request(control_type.CONTROL_LIST, undefined, decodeList);
  }

  async stats(): Promise<RecorderStats> {
    return this.#request(control_type.CONTROL_STATS, undefined, decodeStats);
  }

  /** Asks the recorder to exit; rejects with code `recorder_ebusy` while it watches a session. */
  async shutdown(): Promise<void> {
    await this.#request(control_type.CONTROL_SHUTDOWN, undefined, () => true);
  }

  /** It exits, and leaves its sessions to the recorder that is started next. Rejects where it cannot. */
  async handOver(): Promise<void> {
    await this.#request(control_type.CONTROL_HANDOVER, undefined, () => true);
  }

  close(): void {
    this.#finish(undefined);
  }

  #request<T>(
    type: number,
    body: Buffer | undefined,
    decode: (body: Buffer) => T | undefined,
    { answerType = type, timeoutMs = this.#requestTimeoutMs } = {},
  ): Promise<T> {
    if (this.#closed) return Promise.reject(gone(undefined));
    if (this.#pending.size >= maxPending) {
      return Promise.reject(
        new RecorderError('the recorder does not keep up with requests', {
          kind: 'limit',
          code: 'recorder_busy',
        }),
      );
    }
    const id = this.#nextId();
    return new Promise<T>((resolve, reject) => {
      const answer = (answered: Buffer): boolean => {
        const value = decode(answered);
        if (value === undefined) return false;
        resolve(value);
        return true;
      };
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(late('answer', timeoutMs));
      }, timeoutMs);
      this.#pending.set(id, { type: answerType, answer, fail: reject, timer });
      this.#socket.write(controlFrame(type, id, body));
    });
  }

  /** 1 … 2^32 - 1, round and round; 0 is a notification's. */
  #nextId(): number {
    do this.#lastId = this.#lastId === 0xffff_ffff ? 1 : this.#lastId + 1;
    while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #received(frames: readonly ControlFrame[] | string): void {
    if (typeof frames === 'string') {
      this.#finish(malformed(frames));
      return;
    }
    for (const frame of frames) {
      if (this.#closed) return;
      const fine = frame.id === 0 ? this.#notified(frame) : this.#answered(frame);
      if (!fine) this.#finish(malformed(`frame of type ${frame.type}`));
    }
  }

  #answered(frame: ControlFrame): boolean {
    const pending = this.#pending.get(frame.id);
    // The answer to a request that timed out.
    if (pending === undefined) return true;
    this.#pending.delete(frame.id);
    clearTimeout(pending.timer);
    if (frame.type === control_type.CONTROL_ERROR) {
      const refusal = decodeError(frame.body);
      pending.fail(refusal === undefined ? malformed('error body') : refused(refusal));
      return refusal !== undefined;
    }
    if (frame.type === pending.type && pending.answer(frame.body)) return true;
    pending.fail(malformed(`answer of type ${frame.type}`));
    return false;
  }

  #notified(frame: ControlFrame): boolean {
    if (frame.type === control_type.CONTROL_PROGRESS) {
      const progress = decodeProgress(frame.body);
      if (progress) this.emit('progress', progress.sessionId, progress.spoolLength);
      return progress !== undefined;
    }
    const sessionId = decodeSession(frame.body);
    if (sessionId === undefined) return false;
    if (frame.type === control_type.CONTROL_IDLE) this.emit('idle', sessionId);
    else if (frame.type === control_type.CONTROL_LOSS) this.emit('loss', sessionId);
    else return false;
    return true;
  }

  #finish(error: RecorderError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.fail(error ?? gone(undefined));
    }
    this.#pending.clear();
    this.emit('closed', error);
  }
}

interface Greeting {
  readonly hello: RecorderHello;
  readonly stream: ControlStream;
  /** Frames that followed the hello in the same read. */
  readonly early: readonly ControlFrame[];
}

/** Waits for the first frame, which must be the recorder's hello. Leaves the socket paused. */
function greet(socket: Socket, timeoutMs: number): Promise<Greeting> {
  const stream = new ControlStream();
  const { promise, resolve, reject } = Promise.withResolvers<Greeting>();
  const onError = (error: Error) => reject(gone(error));
  const onClose = () => reject(gone(undefined));
  const onData = (chunk: Buffer) => {
    const frames = stream.push(chunk);
    if (typeof frames === 'string') return reject(malformed(frames));
    const [first, ...early] = frames;
    if (first === undefined) return;
    const hello = first.type === control_type.CONTROL_HELLO ? decodeHello(first.body) : undefined;
    if (hello === undefined) return reject(malformed('hello'));
    socket.pause();
    resolve({ hello, stream, early });
  };
  const timer = setTimeout(() => reject(late('say hello', timeoutMs)), timeoutMs);
  socket.on('error', onError).on('close', onClose).on('data', onData);
  return promise.finally(() => {
    clearTimeout(timer);
    // The error listener stays: a socket without one would end the process.
    socket.off('close', onClose).off('data', onData);
  });
}

function late(what: string, timeoutMs: number): RecorderError {
  return new RecorderError(`the recorder did not ${what} within ${timeoutMs} ms`, {
    kind: 'unavailable',
    code: 'recorder_timeout',
  });
}

function gone(cause: Error | undefined): RecorderError {
  return new RecorderError('the connection to the recorder is closed', {
    kind: 'unavailable',
    code: 'recorder_gone',
    cause,
  });
}

function malformed(what: string): RecorderError {
  return new RecorderError(`the recorder broke the control protocol: ${what}`, {
    kind: 'internal',
    code: 'recorder_protocol',
    hint: 'is another program listening on its socket?',
  });
}

const refusalKinds: Readonly<Record<string, RecorderErrorKind>> = {
  ENOENT: 'not_found',
  ESRCH: 'not_found',
  EEXIST: 'conflict',
  EBUSY: 'conflict',
  EINVAL: 'bad_input',
  EPERM: 'denied',
  EACCES: 'denied',
  ENOSPC: 'limit',
  EMFILE: 'limit',
  E2BIG: 'limit',
  EOPNOTSUPP: 'unsupported',
};

/** `-EBUSY` becomes code `recorder_ebusy`. */
function refused({ errno, message }: { errno: number; message: string }): RecorderError {
  const name = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `E${errno}`;
  return new RecorderError(message === '' ? `the recorder refused: ${name}` : message, {
    kind: refusalKinds[name] ?? 'internal',
    code: `recorder_${name.toLowerCase()}`,
  });
}
