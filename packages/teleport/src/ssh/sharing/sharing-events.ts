// The events of shared sessions. Pure: facts in, drafts out. Blocks U and C are the participant's, not the owner's.
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import {
  connectionBlock,
  type SessionFacts,
  serverBlock,
  sessionAndConnectionBlocks,
  userBlock,
} from '../session-facts.ts';
import type { InputMark } from './input-marks.ts';
import type { ParticipantFacts } from './participant.ts';
import type { Missing } from './sharing.ts';

/** As much of a session's record as sharing needs. */
export interface SharedRecord {
  append(draft: EventDraft): Promise<void>;
  emit(draft: EventDraft): Promise<void>;
}

function blocks({ sid, login, node }: SessionFacts, who: ParticipantFacts) {
  const { user, roles, traits, localAddr, remoteAddr } = who;
  return {
    ...userBlock({ user, roles, traits, login }),
    sid,
    ...serverBlock(node),
    ...connectionBlock(localAddr, remoteAddr),
  };
}

export function joinEvent(facts: SessionFacts, who: ParticipantFacts): EventDraft {
  return { event: 'session.join', code: 'T2001I', ...blocks(facts, who), mode: who.mode, owner: facts.user };
}

export function leaveEvent(facts: SessionFacts, who: ParticipantFacts, reason: string): EventDraft {
  const shared = { mode: who.mode, owner: facts.user, reason };
  return { event: 'session.leave', code: 'T2003I', ...blocks(facts, who), ...shared };
}

export function presenceEvent(facts: SessionFacts, who: ParticipantFacts, silent: boolean): EventDraft {
  const state = silent ? 'silent' : 'returned';
  const shared = { mode: who.mode, owner: facts.user, state } as const;
  return { event: 'session.presence', code: 'T2022I', ...blocks(facts, who), ...shared };
}

/** Roles can ask for many: what the log has of them is bounded. */
const maxMissing = 64;
const maxNeeds = 1024;

export function needsOf(missing: readonly Missing[]): string[] {
  return missing.slice(0, maxMissing).map(({ needs }) => needs.slice(0, maxNeeds));
}

export function pauseEvent(
  facts: SessionFacts,
  missing: readonly Missing[],
  cause: 'left' | 'silent',
): EventDraft {
  const own = { missing: needsOf(missing), cause };
  return { event: 'session.pause', code: 'T2023W', ...sessionAndConnectionBlocks(facts), ...own };
}

export function resumeEvent(facts: SessionFacts, stoodMs: number): EventDraft {
  const own = { stood_ms: Math.round(stoodMs) };
  return { event: 'session.resume', code: 'T2024I', ...sessionAndConnectionBlocks(facts), ...own };
}

export function inputEvent(facts: SessionFacts, { who, bytes }: InputMark): EventDraft {
  return {
    event: 'session.input',
    code: 'T2021I',
    ...(who === undefined ? sessionAndConnectionBlocks(facts) : blocks(facts, who)),
    mode: who?.mode ?? 'owner',
    bytes,
  };
}
