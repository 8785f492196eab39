// The order in which a session comes to be. The order is the evidence: `watch` before `go`, or the first
// command escapes; `cgroup` before `launcher`, or the leader is born outside; `announce` before `go`, or a
// command of a session stands in the log before its session.start; `hold` behind it, for who joins stands in the log
// too, and before `go`, or it held nothing. openSession() runs the list as it stands;
// what the steps do is injected.
import { AppError } from '@sallyport/contracts/errors.ts';

/** What each step really does. A rejection means the step did not happen. */
export interface OpeningParts {
  /** The promise on disk, fsynced: whatever dies from here on, recovery knows of this session. */
  journal(): Promise<void>;
  cgroup(): Promise<void>;
  /** The leader exists, is in the cgroup, has its audit session id, and blocks. */
  launcher(): Promise<void>;
  /** The recorder has acknowledged: every hook filters for this session. */
  watch(): Promise<void>;
  /** session.start is in the audit log, the recording is open. */
  announce(): Promise<void>;
  /** Whoever must be in the session is. */
  hold(): Promise<void>;
  /** The leader execs. */
  go(): Promise<void>;
}

export type StepName = keyof OpeningParts;

export interface OpeningStep {
  readonly name: StepName;
  /** Serves the evidence only: a role that says `best_effort` gets its session without it. */
  readonly evidence: boolean;
}

export const openingSteps: readonly OpeningStep[] = [
  { name: 'journal', evidence: true },
  { name: 'cgroup', evidence: true },
  { name: 'launcher', evidence: false },
  { name: 'watch', evidence: true },
  { name: 'announce', evidence: true },
  { name: 'hold', evidence: false },
  { name: 'go', evidence: false },
];

export interface OpeningPolicy {
  /** `strict`: a session that cannot be recorded does not start. */
  readonly recordSession: 'strict' | 'best_effort';
  /** A step failed and the session goes on without it. */
  degraded(step: StepName, error: AppError): void;
}

/** Which step refused. The message stays the cause's: it is what the user is told. */
export class OpeningFailed extends AppError {
  readonly step: StepName;

  constructor(step: StepName, cause: AppError) {
    super(cause.kind, cause.code, cause.message, { hint: cause.hint, cause });
    this.step = step;
  }
}

/** Runs the steps in their order. Rejects with OpeningFailed at the first that must not fail; nothing after it runs. */
export async function openSession(
  parts: OpeningParts,
  policy: OpeningPolicy,
  steps: readonly OpeningStep[] = openingSteps,
): Promise<void> {
  for (const step of steps) {
    try {
      await parts[step.name]();
    } catch (thrown) {
      const error = AppError.from(thrown, `session.open.${step.name}`);
      if (!step.evidence || policy.recordSession === 'strict') throw new OpeningFailed(step.name, error);
      policy.degraded(step.name, error);
    }
  }
}
