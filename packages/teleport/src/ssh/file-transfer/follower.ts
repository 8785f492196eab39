// Somebody who looks at what passes between a client and the program that serves it files, before it is passed on.
import type { EventDraft } from '@sallyport/contracts/events/event.ts';

/** Pure: bytes in, events out. Never throws. */
export interface Follower {
  /** Each says what is wrong with the stream, if anything: then these bytes must not be passed on, nor any more. */
  fromClient(bytes: Buffer): string | undefined;
  fromServer(bytes: Buffer): string | undefined;
  /** What these bytes of the server's are to the recording: true, text to be kept; false, the contents of files. */
  readonly recordsOutput: boolean;
  /** Requests that are under way. */
  readonly waiting: number;
  /** Events since it was last asked. */
  take(): EventDraft[];
  /** Nothing more comes: events of what was left undone. */
  end(): EventDraft[];
}
