// Sessions that another daemon of this host still serves: after a reload they live on in the daemon before this one,
// while connections come here. A joiner is handed on: bytes both ways, and every decision is the other daemon's.
import type { Duplex } from 'node:stream';
import { PassThrough } from 'node:stream';
import { joinModes } from '@sallyport/contracts/api/session-trackers.ts';
import { z } from 'zod';
import type { ChannelWriter, SessionChannel } from '../../ssh-transport/session-channel.ts';
import type { SessionRegistry } from '../session-registry.ts';
import { writeInto } from '../terminal-flow.ts';
import { type Joiner, Joining, type JoiningOptions } from './joining.ts';
import { type Frame, frameKinds, framesOf, sendFrame } from './next-door-frames.ts';
import { sentOut } from './words.ts';

/** A connection to each of the other daemons. */
export type Neighbours = () => Promise<readonly Duplex[]>;

const hello = z.object({
  sid: z.string(),
  mode: z.enum(joinModes),
  user: z.string(),
  roles: z.array(z.string()),
  traits: z.record(z.string(), z.array(z.string())),
  localAddr: z.string(),
  remoteAddr: z.string(),
  /** The end of their certificate; absent: it has none, or the other daemon is of a version that does not say. */
  until: z.iso.datetime().optional(),
});

/** Our half where the session lives. */
export async function serveNextDoor(
  stream: Duplex,
  registry: Pick<SessionRegistry, 'partyOf'>,
): Promise<void> {
  stream.on('error', () => {});
  let joining: Joining | undefined;
  const channel = new FramedChannel(stream);
  try {
    for await (const frame of framesOf(stream)) {
      if (frame.kind !== frameKinds.hello) await channel.take(frame);
      else if (!joining) joining = await welcome(stream, channel, registry, frame.payload);
      if (!joining) break;
    }
  } finally {
    joining?.channelClosed();
    channel.gone();
    stream.destroy();
  }
}

async function welcome(
  stream: Duplex,
  channel: FramedChannel,
  registry: Pick<SessionRegistry, 'partyOf'>,
  payload: Buffer,
): Promise<Joining | undefined> {
  const { sid, mode, until, ...who } = hello.parse(JSON.parse(payload.toString()));
  const party = registry.partyOf(sid);
  await sendFrame(stream, frameKinds.found, Buffer.of(party ? 1 : 0));
  if (!party) return undefined;
  return new Joining({
    ...{ who, wish: { sid, mode }, channel, party },
    ping: () => channel.ping(),
    until: until === undefined ? undefined : new Date(until),
    refused: (reason) => void sendFrame(stream, frameKinds.refused, Buffer.from(reason)),
  });
}

/** The joiner's channel, as far away as the other daemon. */
class FramedChannel implements SessionChannel {
  readonly id = 0;
  readonly stdin = new PassThrough();
  readonly stdout: ChannelWriter;
  readonly stderr: ChannelWriter;
  readonly #stream: Duplex;
  #pings: ((ms: number | undefined) => void)[] = [];

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.stdout = { write: (bytes) => sendFrame(stream, frameKinds.stdout, bytes) };
    this.stderr = { write: (bytes) => sendFrame(stream, frameKinds.stderr, bytes) };
  }

  get isOpen(): boolean {
    return this.#stream.writable;
  }

  async take({ kind, payload }: Frame): Promise<void> {
    if (kind === frameKinds.stdin) await writeInto(this.stdin, payload);
    if (kind === frameKinds.pong) this.#pings.shift()?.(0);
  }

  ping(): Promise<number | undefined> {
    const { promise, resolve } = Promise.withResolvers<number | undefined>();
    this.#pings.push(resolve);
    void sendFrame(this.#stream, frameKinds.ping);
    return promise;
  }

  gone(): void {
    this.stdin.end();
    for (const resolve of this.#pings.splice(0)) resolve(undefined);
  }

  exit(status: number): void {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(status);
    void sendFrame(this.#stream, frameKinds.exit, payload);
  }

  exitSignal(): void {}

  eof(): void {}

  async close(): Promise<void> {
    this.#stream.end();
  }
}

export interface HandingOnOptions extends Omit<JoiningOptions, 'party'> {
  readonly neighbours: Neighbours;
}

/** Our half where the connection is. */
export class HandingOn implements Joiner {
  readonly #options: HandingOnOptions;
  #stream: Duplex | undefined;
  #over = false;
  activity = 0;

  constructor(options: HandingOnOptions) {
    this.#options = options;
    void this.#run().catch(() => this.#options.channel.close());
  }

  end(reason: string): void {
    const { channel } = this.#options;
    this.channelClosed();
    if (channel.isOpen) void channel.stderr.write(Buffer.from(`\r\n${sentOut(reason)}\r\n`));
    void channel.close();
  }

  channelClosed(): void {
    this.#over = true;
    this.#stream?.destroy();
  }

  async #run(): Promise<void> {
    for (const stream of await this.#options.neighbours()) {
      stream.on('error', () => {});
      const frames = framesOf(stream);
      const found = this.#over || this.#stream ? false : await this.#asks(stream, frames);
      // It may have ended while the other daemon was asked.
      if (!found || this.#over) {
        stream.destroy();
        continue;
      }
      this.#stream = stream;
      void this.#type(stream);
      await this.#show(stream, frames);
    }
    if (this.#stream) return void this.#options.channel.close();
    // Nobody has it: refused as this daemon refuses.
    if (!this.#over) new Joining({ ...this.#options, party: undefined });
  }

  async #asks(stream: Duplex, frames: AsyncGenerator<Frame, void>): Promise<boolean> {
    const { who, wish, until } = this.#options;
    if (wish.mode === undefined) return false;
    const words = JSON.stringify({ ...who, sid: wish.sid, mode: wish.mode, until: until?.toISOString() });
    await sendFrame(stream, frameKinds.hello, Buffer.from(words));
    const { value } = await frames.next();
    return value?.kind === frameKinds.found && value.payload[0] === 1;
  }

  async #type(stream: Duplex): Promise<void> {
    try {
      for await (const bytes of this.#options.channel.stdin as AsyncIterable<Buffer>) {
        this.activity += bytes.length;
        if (!(await sendFrame(stream, frameKinds.stdin, bytes))) return;
      }
    } catch {
      // The channel broke: `channelClosed` says so.
    }
  }

  async #show(stream: Duplex, frames: AsyncGenerator<Frame, void>): Promise<void> {
    const { channel, ping, refused } = this.#options;
    for await (const { kind, payload } of frames) {
      if (kind === frameKinds.stdout) await channel.stdout.write(payload);
      if (kind === frameKinds.stderr) await channel.stderr.write(payload);
      if (kind === frameKinds.exit && channel.isOpen) channel.exit(payload.readUInt32BE());
      if (kind === frameKinds.ping)
        void ping().then((ms) => ms !== undefined && sendFrame(stream, frameKinds.pong));
      if (kind === frameKinds.refused) refused(payload.toString());
      this.activity += payload.length;
    }
  }
}
