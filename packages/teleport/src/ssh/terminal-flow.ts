// Bytes between a session's process and its channel. Output is recorded first and passed on second: what the
// user saw is in the recording, whatever dies in between. One chunk is under way to the client while the next is
// recorded, and no more: a client that does not read stops the program that writes, and the other way round.
import type { Readable, Writable } from 'node:stream';
import type { ChannelWriter } from '../ssh-transport/session-channel.ts';
import { giveBack } from './bulk-buffers.ts';

/** Payload bytes of the channel: `tx` to the client, `rx` from it. */
export interface ByteCounts {
  tx: number;
  rx: number;
}

/** Resolves once the bytes are recorded. Resolves false when they must not be passed on. */
export type RecordOutput = (bytes: Buffer) => Promise<boolean>;

/** Why a direction ended: the source has no more, the channel is gone, or recording forbade to go on. */
export type FlowEnd = 'ended' | 'closed' | 'forbidden';

export async function passOutput(
  source: Readable,
  writer: ChannelWriter,
  record: RecordOutput,
  counts: ByteCounts,
): Promise<FlowEnd> {
  const pass = async (chunk: Buffer): Promise<boolean> => {
    const passed = await writer.write(chunk);
    giveBack(chunk);
    if (passed) counts.tx += chunk.length;
    return passed;
  };
  let passing = Promise.resolve(true);
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      if (!(await record(chunk))) return 'forbidden';
      if (!(await passing)) return 'closed';
      passing = pass(chunk);
    }
  } catch {
    // The descriptor was destroyed under us (the session was ended), or the terminal hung up.
  }
  return (await passing) ? 'ended' : 'closed';
}

/**
 * Resolves at the client's EOF, or when the channel is gone. What comes after the process closed its input is
 * read and dropped, so that the client's window never stalls.
 */
export async function passInput(
  source: Readable,
  sink: Writable,
  counts: ByteCounts,
  /** False: these bytes go nowhere. */
  admits: (bytes: Buffer) => boolean = () => true,
): Promise<void> {
  // EPIPE: the program does not read any more; its exit says what there is to say.
  sink.on('error', () => {});
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      counts.rx += chunk.length;
      if (admits(chunk)) await writeInto(sink, chunk);
    }
  } catch {
    // The channel broke: the same as its end.
  }
}

/** Resolves when the sink has room for more. What comes after its end is dropped. */
export async function writeInto(sink: Writable, bytes: Buffer): Promise<void> {
  if (sink.writable && !sink.write(bytes)) await writable(sink);
}

function writable(sink: Writable): Promise<void> {
  if (sink.destroyed || sink.writableEnded) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      sink.off('drain', done).off('close', done).off('error', done);
      resolve();
    };
    sink.once('drain', done).once('close', done).once('error', done);
  });
}

/**
 * After the leader has ended, its output ends by itself: the kernel hangs a terminal up, a pipe has an end. Should a
 * process elsewhere keep it alive all the same, `silenceMs` without a byte is the end, as nobody can tell more; then
 * it resolves with undefined.
 */
export async function outputTail(
  output: Promise<readonly FlowEnd[]>,
  counts: ByteCounts,
  silenceMs: number,
): Promise<readonly FlowEnd[] | undefined> {
  let ends: readonly FlowEnd[] | undefined;
  const ended = output.then((all) => {
    ends = all;
  });
  for (let before = -1; ends === undefined && before !== counts.tx; ) {
    before = counts.tx;
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, silenceMs))]);
  }
  return ends;
}
