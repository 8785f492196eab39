// What follows for a session from who is in it. Pure: no clock, no stream, no order of events but the last standing.
//
//   pending ──▶ running ◀──▶ suspended ──▶ paused ──▶ over
//                  ▲  └────────────────────▶ │ ▲
//                  └─────────────────────────┘ └ and from each of them to over, which is the end
//
// Silence suspends, whatever the roles say of leaving: nobody sees the session at that moment. Only a leaving
// pauses or ends it.
import type { Missing, Moderation, Present } from './sharing.ts';

export type Standing =
  | { readonly state: 'running' }
  /** pending: it has not begun. suspended: those it needs are in it, and say nothing. over: roles want its end. */
  | { readonly state: 'pending' | 'suspended' | 'paused' | 'over'; readonly missing: readonly Missing[] };

export type StandingState = Standing['state'];

export interface Attendance {
  /** Everybody who is in it but the owner. */
  readonly present: readonly Present[];
  /** Of them: whose connections answer. */
  readonly answering: readonly Present[];
}

/** Before anybody could come. */
export function firstStanding(moderation: Moderation | undefined): Standing {
  const missing = moderation?.missing([]) ?? [];
  return missing.length === 0 ? { state: 'running' } : { state: 'pending', missing };
}

export function nextStanding(
  before: Standing,
  moderation: Moderation | undefined,
  { present, answering }: Attendance,
): Standing {
  if (before.state === 'over' || !moderation) return before;
  const unseen = moderation.missing(answering);
  if (unseen.length === 0) return { state: 'running' };
  if (before.state === 'pending') return { state: 'pending', missing: unseen };
  const gone = moderation.missing(present);
  if (gone.length === 0) return { state: 'suspended', missing: unseen };
  const ends = gone.some(({ onLeave }) => onLeave === 'terminate');
  return { state: ends ? 'over' : 'paused', missing: gone };
}

/** begin: what was held may start. stop and go: what runs. end: all of it. undefined: as it was. */
export type Step = 'begin' | 'stop' | 'go' | 'end';

export function stepBetween(before: Standing, after: Standing): Step | undefined {
  if (before.state === after.state) return undefined;
  if (after.state === 'over') return 'end';
  if (after.state === 'running') return before.state === 'pending' ? 'begin' : 'go';
  return before.state === 'running' ? 'stop' : undefined;
}

export function missingOf(standing: Standing): readonly Missing[] {
  return standing.state === 'running' ? [] : standing.missing;
}
