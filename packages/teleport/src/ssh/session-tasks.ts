// Everything that runs in a session, as one: to stop it, let it go on, and end it. By its cgroup; and where somebody
// must see the session, also what slipped out of the cgroup and still bears the session's audit id: whoever asks a
// manager for another cgroup (`systemd-run --user --scope`) does not walk away from those who watch.
import { readdir, readFile } from 'node:fs/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { SessionCgroup } from './cgroup.ts';
import type { NodeLog } from './node-log.ts';
import type { Standstill } from './sharing/sharing.ts';

/** Root in the session may thaw what we froze; so it is looked at, ms. */
const keepMs = 250;
/** And for what came out of it meanwhile, every so many looks. */
const strayLooks = 4;
/** A stray that forks while we look has children: a few rounds, then the next look. */
const strayRounds = 3;

/** Processes looked at together: whoever starts many must not take the daemon's descriptors. */
const lookedAtOnce = 64;
/** Parents that are followed; nobody's PAM helpers go deeper. */
const maxAncestors = 8;

/** What of the session's processes is known besides the cgroup. */
export interface TaskMarks {
  readonly auditSessionId: number | undefined;
  readonly leaderPid: number;
  /** Bears the same audit id, as does what it runs for PAM, and is none of the session's. */
  readonly supervisorPid: number;
}

export interface SessionTasksOptions {
  readonly cgroup: () => SessionCgroup | undefined;
  /** undefined: nothing was started yet, or nobody must see the session. */
  readonly marks: () => TaskMarks | undefined;
  readonly log: NodeLog;
}

export class SessionTasks implements Standstill {
  readonly #options: SessionTasksOptions;
  /** One after the other: a thaw that overtook its freeze would leave the session frozen. */
  #last: Promise<void> = Promise.resolve();
  #keep: NodeJS.Timeout | undefined;
  /** Nothing may run. */
  #still = false;
  #over = false;

  constructor(options: SessionTasksOptions) {
    this.#options = options;
  }

  /** Resolves when nothing runs; rejects where that cannot be had. */
  stop(): Promise<void> {
    return this.#next(() => this.#stop());
  }

  go(): Promise<void> {
    return this.#next(() => this.#go());
  }

  /** SIGKILL to everything. Never rejects. */
  async kill(): Promise<void> {
    this.close();
    const { log } = this.#options;
    // The many do not wait for us to look for the few.
    const [, strays] = await Promise.all([
      this.#killCgroup(),
      this.#gather().catch((err) => log.warn({ err }, 'what left a cgroup was not looked for')),
    ]);
    if (strays) await this.#killCgroup();
  }

  async #killCgroup(): Promise<void> {
    const { cgroup, log } = this.#options;
    await cgroup()
      ?.kill()
      .catch((err) => log.error({ err }, 'a cgroup was not killed'));
  }

  /** Nothing is kept frozen any more. */
  close(): void {
    this.#over = true;
    clearInterval(this.#keep);
  }

  #next(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  async #stop(): Promise<void> {
    if (this.#over) return; // being killed: nothing else may happen to it
    this.#still = true;
    const cgroup = this.#options.cgroup();
    if (!cgroup) throw cannotStop(undefined);
    try {
      await cgroup.beginFreeze(); // the many at once, before we look for the few
      await this.#gather();
      await cgroup.freeze(true);
    } catch (cause) {
      if (this.#over) return;
      throw cannotStop(cause);
    }
    this.#keepStopped(cgroup);
  }

  async #go(): Promise<void> {
    this.#still = false;
    clearInterval(this.#keep);
    if (this.#over) return;
    await this.#options.cgroup()?.freeze(false);
  }

  #keepStopped(cgroup: SessionCgroup): void {
    clearInterval(this.#keep);
    if (this.#over) return;
    let looks = 0;
    this.#keep = setInterval(() => {
      looks += 1;
      const strays = looks % strayLooks === 0;
      // In its turn: a look that is overtaken by a thaw must not freeze what goes on by then.
      this.#next(async () => {
        if (!this.#still || this.#over) return;
        if (strays) await this.#gather();
        await cgroup.beginFreeze();
      }).catch(() => {}); // gone, and with it everything in it; or it is asked again at the next look
    }, keepMs);
  }

  /** Strays come back into the cgroup, where they share the fate of the rest. Tells how many. */
  async #gather(): Promise<number> {
    const marks = this.#options.marks();
    const cgroup = this.#options.cgroup();
    if (!cgroup || marks?.auditSessionId === undefined) return 0;
    let gathered = 0;
    for (let round = 0; round < strayRounds; round++) {
      const strays = await straysOf(marks, new Set(await cgroup.procs()));
      if (strays.length === 0) break;
      gathered += strays.length;
      for (const pid of strays) {
        this.#options.log.warn({ pid }, 'a process had left the cgroup of its session; it is taken back');
        await cgroup.adopt(pid).catch(() => {}); // ended meanwhile
      }
    }
    return gathered;
  }
}

/** Processes outside that bear the session's audit id and do not descend from its supervisor past its leader. */
async function straysOf(marks: TaskMarks, inside: ReadonlySet<number>): Promise<number[]> {
  const outside = (await readdir('/proc'))
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => !inside.has(pid));
  const found: number[] = [];
  for (let at = 0; at < outside.length; at += lookedAtOnce) {
    const some = outside.slice(at, at + lookedAtOnce);
    const strays = await Promise.all(some.map((pid) => isStray(pid, marks, inside)));
    found.push(...some.filter((_, index) => strays[index]));
  }
  return found;
}

async function isStray(pid: number, marks: TaskMarks, inside: ReadonlySet<number>): Promise<boolean> {
  const id = await readFile(`/proc/${pid}/sessionid`, 'latin1').catch(() => '');
  if (id === '' || Number(id) !== marks.auditSessionId) return false;
  let ancestor: number | undefined = pid;
  for (let n = 0; n < maxAncestors && ancestor; n++) {
    if (ancestor === marks.supervisorPid) return false;
    if (ancestor === marks.leaderPid || inside.has(ancestor)) return true;
    ancestor = await parentOf(ancestor);
  }
  return true;
}

async function parentOf(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  // The program's name may hold blanks and parentheses.
  return text === undefined ? undefined : Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]);
}

function cannotStop(cause: unknown): AppError {
  return new AppError(
    'unsupported',
    'session.cannot_stop',
    'Somebody must see this session, and this host cannot stop what runs in it while nobody does.',
    {
      cause,
      hint: 'It needs cgroup v2 at ssh_service.enhanced_recording.cgroup_path, also where nothing is recorded.',
    },
  );
}
