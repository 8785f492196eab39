// The events of a session that are not the kernel's. Pure: facts in, drafts out.

import type { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { dataEi } from '@sallyport/contracts/events/event.ts';
import type { EventKind, TotalsByKind } from '@sallyport/kernel/kernel-event.ts';
import type { LoggedByKind } from './enhanced/checkpoint.ts';
import type { WatchResult } from './kernel-watch.ts';
import {
  connectionBlock,
  type SessionFacts,
  serverBlock,
  sessionAndConnectionBlocks,
  sessionBlocks,
  type TerminalSize,
  userBlock,
} from './session-facts.ts';
import type { ByteCounts } from './terminal-flow.ts';

export function sizeText(size: TerminalSize): string {
  return `${size.cols}:${size.rows}`;
}

function purpose(facts: SessionFacts) {
  return facts.purpose === undefined ? {} : { purpose: facts.purpose };
}

function initialCommand(facts: SessionFacts) {
  return facts.command === undefined ? {} : { initial_command: [facts.command] };
}

export function startEvent(facts: SessionFacts): EventDraft {
  return {
    event: 'session.start',
    code: 'T2000I',
    ...sessionAndConnectionBlocks(facts),
    ...(facts.terminal === undefined ? {} : { size: sizeText(facts.terminal) }),
    ...initialCommand(facts),
    ...purpose(facts),
    session_recording: facts.recordingMode,
  };
}

export function resizeEvent(facts: SessionFacts, size: TerminalSize): EventDraft {
  return { event: 'resize', code: 'T2002I', ...sessionAndConnectionBlocks(facts), size: sizeText(size) };
}

export function leaveEvent(facts: SessionFacts): EventDraft {
  return { event: 'session.leave', code: 'T2003I', ...sessionAndConnectionBlocks(facts) };
}

export function dataEvent(facts: SessionFacts, counts: Readonly<ByteCounts>): EventDraft {
  const draft: EventDraft = {
    event: 'session.data',
    code: 'T2006I',
    ...sessionAndConnectionBlocks(facts),
    tx: counts.tx,
    rx: counts.rx,
  };
  return Object.assign(draft, { ei: dataEi });
}

/** `exitCode` is what the client was told; undefined when a signal ended the command. */
export function execEvent(facts: SessionFacts, exitCode: number | undefined, exitError?: string): EventDraft {
  const fields = {
    ...sessionAndConnectionBlocks(facts),
    command: facts.command ?? '',
    ...(exitCode === undefined ? {} : { exitCode: String(exitCode) }),
    ...(exitError === undefined ? {} : { exitError }),
  };
  return exitError === undefined
    ? { event: 'exec', code: 'T3002I', ...fields }
    : { event: 'exec', code: 'T3002E', ...fields };
}

/** The host would not have them: PAM, an account that ended, a shell that is not there. */
export function rejectedEvent(facts: SessionFacts, reason: string): EventDraft {
  return {
    event: 'session.rejected',
    code: 'T1006W',
    ...userBlock(facts),
    ...serverBlock(facts.node),
    ...connectionBlock(facts.localAddr, facts.remoteAddr),
    reason,
  };
}

export function recordingFailedEvent(
  facts: SessionFacts,
  recording: 'terminal' | 'enhanced' | 'audit',
  error: AppError,
  consequence: 'refused' | 'ended' | 'continued',
): EventDraft {
  return {
    event: 'session.recording_failed',
    code: 'T2020E',
    ...sessionAndConnectionBlocks(facts),
    recording,
    error: error.message,
    consequence,
  };
}

export interface EndDetails {
  /** undefined: the kernel was not asked. */
  readonly watch: WatchResult | undefined;
  /** Kernel records that are in the log, by kind. */
  readonly logged: Readonly<LoggedByKind> | undefined;
  readonly stopped: string;
  /** Everybody who was in it, the owner first. */
  readonly participants: readonly string[];
  /** Why the session did not end by itself. */
  readonly interrupted?: string | undefined;
}

export function endEvent(facts: SessionFacts, details: EndDetails): EventDraft {
  const { watch, logged, interrupted } = details;
  const totals = watch?.totals && logged ? enhancedTotals(facts, watch.totals, logged) : undefined;
  return {
    event: 'session.end',
    code: 'T2004I',
    ...sessionAndConnectionBlocks(facts),
    enhanced_recording: watch?.whole ?? false,
    interactive: facts.terminal !== undefined,
    participants: [...details.participants],
    session_start: facts.started,
    session_stop: details.stopped,
    ...initialCommand(facts),
    ...purpose(facts),
    session_recording: facts.recordingMode,
    ...(totals === undefined ? {} : { enhanced_totals: totals }),
    ...(interrupted === undefined ? {} : { interrupted: true, interrupted_reason: interrupted }),
  };
}

const kinds: readonly EventKind[] = ['command', 'disk', 'network', 'meta'];

/**
 * The totals as the log can prove them: `recorded` is what stands in the log, and whatever the kernel emitted
 * beyond it is lost, whoever lost it. So emitted = recorded + lost holds for a reader of the log alone.
 */
function enhancedTotals(facts: SessionFacts, totals: TotalsByKind, logged: Readonly<LoggedByKind>) {
  const on = new Set<EventKind>([...facts.kinds, 'meta']);
  return Object.fromEntries(
    kinds
      .filter((kind) => on.has(kind) && (kind !== 'meta' || totals.meta.emitted > 0))
      .map((kind) => {
        const emitted = totals[kind].emitted;
        return [kind, { emitted, recorded: logged[kind], lost: emitted - logged[kind] }];
      }),
  );
}

/** Records the recorder kept and the log has not: the spool was damaged. Declared like any other loss. */
export function damageEvents(facts: SessionFacts, details: EndDetails): EventDraft[] {
  const { watch, logged, stopped } = details;
  const totals = watch?.totals;
  if (totals === undefined || logged === undefined) return [];
  return kinds
    .filter((kind) => totals[kind].recorded > logged[kind])
    .map((kind) => ({
      event: 'session.events_lost',
      code: 'T4020W',
      ...sessionBlocks(facts),
      kind,
      count: totals[kind].recorded - logged[kind],
      first_time: facts.started,
      last_time: stopped,
      cause: 'spool_corrupt',
    }));
}
