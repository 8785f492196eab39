// The end of a session, in its order: the kernel's watch is closed and all it saw is in the log; what is missing
// is declared; session.data, session.leave where the user did not leave before, session.end; then the recording,
// and only then the files recovery would need. Used by living sessions and by recovery alike.
import type { KernelWatch } from './kernel-watch.ts';
import { damageEvents, dataEvent, endEvent, leaveEvent } from './session-events.ts';
import type { SessionFacts } from './session-facts.ts';
import { forgetSession } from './session-journal.ts';
import type { SessionRecord } from './session-record.ts';
import type { ByteCounts } from './terminal-flow.ts';

export interface Closing {
  readonly facts: SessionFacts;
  readonly record: SessionRecord;
  readonly watch: KernelWatch | undefined;
  readonly spoolDir: string;
  /** undefined: unknown, they died with the daemon. */
  readonly counts: Readonly<ByteCounts> | undefined;
  /** session.leave is in the log. */
  readonly left: boolean;
  readonly interrupted?: string | undefined;
  /** Everybody who was in it, the owner first. Absent: the owner alone. */
  readonly participants?: readonly string[] | undefined;
}

export async function closeSession(closing: Closing): Promise<void> {
  const { facts, record, watch } = closing;
  const result = await watch?.finish();
  const details = {
    watch: result,
    logged: watch?.logged,
    stopped: new Date().toISOString(),
    interrupted: closing.interrupted,
    participants: closing.participants ?? [facts.user],
  };
  for (const draft of damageEvents(facts, details)) await record.emit(draft);
  if (closing.counts) await record.emit(dataEvent(facts, closing.counts));
  if (!closing.left) await record.emit(leaveEvent(facts));
  await record.emit(endEvent(facts, details));
  await record.finish();
  await watch?.close();
  await forgetSession(closing.spoolDir, facts.sid);
}
