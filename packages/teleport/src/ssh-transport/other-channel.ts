// Channels of types this room does not know, for either end's handler; and answers with streams, as channels take them.
import { ChannelStream } from './channel-stream.ts';
import type { OpenAnswer } from './channel-table.ts';
import type { ChannelRefusal, EventualChannelAnswer, PeerHandler } from './connection.ts';
import type { WireReader } from './wire.ts';

const MAX_TYPE_BYTES = 256;
const MAX_PAYLOAD_BYTES = 32 * 1024;
const UNKNOWN: ChannelRefusal = { refuse: 'unknown-type', text: 'unknown kind of channel' };

/** Bounded, and without control characters: fit for logs and system calls. */
export const clean = (text: string, maxBytes: number): boolean =>
  Buffer.byteLength(text) <= maxBytes && !/\p{Cc}/u.test(text);

/** The stream is made once the channel is open. */
export function asStream(answer: EventualChannelAnswer): OpenAnswer | Promise<OpenAnswer> {
  if (answer instanceof Promise) return answer.then((now) => asStream(now));
  if ('refuse' in answer) return answer;
  return { accept: (channel) => answer.accept(new ChannelStream(channel)) };
}

export function otherChannel(
  handler: PeerHandler | undefined,
  type: string,
  fields: WireReader,
): OpenAnswer | Promise<OpenAnswer> {
  const payload = Buffer.from(fields.rest());
  if (!handler?.channel || !clean(type, MAX_TYPE_BYTES)) return UNKNOWN;
  if (payload.length > MAX_PAYLOAD_BYTES) return { refuse: 'resources', text: 'too long' };
  return asStream(handler.channel({ type, payload }));
}
