// What the keys of somebody who joined mean. Pure.
import type { JoinMode } from '@sallyport/contracts/api/session-trackers.ts';

/** type: they go to the terminal. */
export type KeyMeaning = 'type' | 'leave' | 'terminate' | 'nothing';

const ctrlC = 0x03;
/** What a moderator presses to end the session; alone, so that a pasted text does not. */
const terminateKey = 't'.charCodeAt(0);

/** `runs`: what is typed can reach the session. While it stands still, a peer leaves as the others do. */
export function meaningOf(mode: JoinMode, runs: boolean, bytes: Buffer): KeyMeaning {
  if (mode === 'peer' && runs) return 'type';
  if (bytes.includes(ctrlC)) return 'leave';
  return mode === 'moderator' && bytes.length === 1 && bytes[0] === terminateKey ? 'terminate' : 'nothing';
}
