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

export function inputEvent(facts: SessionFacts, { who, bytes }: InputMark): EventDraft {
  return {
    event: 'session.input',
    code: 'T2021I',
    ...(who === undefined ? sessionAndConnectionBlocks(facts) : blocks(facts, who)),
    mode: who?.mode ?? 'owner',
    bytes,
  };
}
