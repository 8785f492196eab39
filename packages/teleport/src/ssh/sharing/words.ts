// What the people in a shared session read. Notices stand in brackets on a line of their own, and only on screens:
// the recording has events instead.
import type { JoinMode, SessionState } from '@sallyport/contracts/api/session-trackers.ts';
import type { SessionFacts, TerminalSize } from '../session-facts.ts';
import type { Missing } from './sharing.ts';
import type { Standing } from './standing.ts';

const manners: Readonly<Record<JoinMode, string>> = {
  observer: 'You see what it shows; nothing you type reaches it. Ctrl-c leaves.',
  peer: 'What you type reaches it. Leave with ~. at the beginning of a line; exit ends it for everybody.',
  moderator: 'You see what it shows. Press t to end it for everybody, ctrl-c to leave.',
};

const states: Readonly<Record<SessionState, string>> = {
  pending: ' It has not begun: somebody is awaited.',
  running: '',
  paused: ' It is paused.',
};

export function banner(
  { user, login, node }: SessionFacts,
  mode: JoinMode,
  state: SessionState,
  size: TerminalSize | undefined,
): Buffer {
  const where = `${login} on ${node.hostname}`;
  const screen = size === undefined ? '' : ` Its screen has ${size.cols} columns and ${size.rows} rows.`;
  const first = `You are in the session of ${user} (${where}) as ${mode}.${states[state]}${screen}`;
  const lines = `${first}\r\n${manners[mode]}\r\n\r\n`;
  return size === undefined ? Buffer.from(lines) : Buffer.concat([sizeNotice(size), Buffer.from(lines)]);
}

/**
 * The owner's terminal decides the size; a joiner's is asked to follow: XTWINOPS 8, which terminals that may not
 * change their size ignore.
 */
export function sizeNotice({ cols, rows }: TerminalSize): Buffer {
  return Buffer.from(`\x1b[8;${rows};${cols}t`);
}

/** The reason in session.leave of somebody who pressed ctrl-c. */
export const leftByThemselves = 'left';

export function leftText(user: string, reason: string): string {
  return `[${user} left the session${reason === leftByThemselves ? '' : `: ${reason}`}.]`;
}

export function sentOut(reason: string): string {
  return `You were sent out of the session: ${reason}`;
}

export function missingText(missing: readonly Missing[]): string {
  return missing.map(({ role, needs }) => `${needs} (role ${role})`).join('; and ');
}

/** What everybody reads when the session's standing is another one. undefined: nothing. */
export function standingText(
  before: Standing,
  after: Standing,
  silenceLimitMs: number | undefined,
): string | undefined {
  switch (after.state) {
    case 'running':
      return before.state === 'pending' ? undefined : '[The session goes on.]';
    case 'suspended':
      return `[The session stands still: those it needs say nothing. ${silenceText(after.missing, silenceLimitMs ?? 0)}]`;
    case 'paused':
      return `[The session is paused until somebody comes: ${missingText(after.missing)}.]`;
    default:
      return undefined;
  }
}

function silenceText(missing: readonly Missing[], limitMs: number): string {
  const ends = missing.some(({ onLeave }) => onLeave === 'terminate');
  return `After ${limitMs / 1000} s of silence ${ends ? 'it ends' : 'they have left'}.`;
}
