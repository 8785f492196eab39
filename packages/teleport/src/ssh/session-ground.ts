// What a session stands on: its cgroup, whoever makes it, and, where somebody must see the session, what keeps it
// within reach: it can be stopped, and it does not outlive the daemon.
import { AppError } from '@sallyport/contracts/errors.ts';
import { SessionCgroup } from './cgroup.ts';
import { DeadMan } from './dead-man.ts';
import type { KernelWatch } from './kernel-watch.ts';
import type { SessionFacts } from './session-facts.ts';
import type { SessionHost } from './session-host.ts';
import { SessionTasks, type TaskMarks } from './session-tasks.ts';

export interface SessionGroundOptions {
  readonly host: Pick<SessionHost, 'unrecorded' | 'log'>;
  readonly facts: SessionFacts;
  /** undefined: the kernel does not record here. */
  readonly watch: KernelWatch | undefined;
  /** undefined: nothing was started yet. */
  readonly launched: () => TaskMarks | undefined;
}

export class SessionGround {
  readonly tasks: SessionTasks;
  readonly #options: SessionGroundOptions;
  /** Ours, where no watch has one. */
  #own: SessionCgroup | undefined;
  #deadMan: DeadMan | undefined;

  constructor(options: SessionGroundOptions) {
    this.#options = options;
    const { facts, launched, host } = options;
    this.tasks = new SessionTasks({
      cgroup: () => this.#cgroup,
      marks: () => (facts.attended ? launched() : undefined),
      log: host.log,
    });
  }

  get #cgroup(): SessionCgroup | undefined {
    return this.#options.watch?.cgroup ?? this.#own;
  }

  /** Where its first process is born. undefined: it has no cgroup. */
  get cgroupDir(): string | undefined {
    return this.#cgroup?.home;
  }

  async makeCgroup(): Promise<void> {
    const { watch, facts, host } = this.#options;
    if (watch) return watch.makeCgroup();
    if (!facts.attended) return;
    const { cgroupPath, rootPath } = host.unrecorded;
    this.#own = await SessionCgroup.create(cgroupPath, rootPath, facts.sid).catch((err) => {
      // No evidence is missing: what is, and what follows, is told when it is to be stopped.
      host.log.error({ err, sid: facts.sid }, 'a session that somebody must see has no cgroup');
      return undefined;
    });
  }

  /** Before anything of it runs. `end`: it has to, as nothing guards it any more. */
  async guard(end: (reason: AppError) => void): Promise<void> {
    const { facts } = this.#options;
    // Without a cgroup it is refused when it is to be stopped for the first time, which is before it begins.
    if (facts.attended && this.#cgroup)
      this.#deadMan = await DeadMan.watchOver(this.#cgroup.dir, () => end(unguarded()));
  }

  /** Nothing runs any more. A cgroup of the watch goes with the watch. */
  async leave(): Promise<void> {
    this.tasks.close();
    this.#deadMan?.dismiss();
    const { log } = this.#options.host;
    await this.#own?.remove().catch((err) => log.warn({ err }, 'a cgroup was not removed'));
  }
}

function unguarded(): AppError {
  return new AppError(
    'unavailable',
    'session.unguarded',
    'What ends this session with the service was killed: it could outlive those who must see it.',
  );
}
