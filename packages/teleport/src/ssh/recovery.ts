// The sessions of a daemon that died: at start, and when one that lived beside us does. Each has a journal. What the
// recorder still watches goes on and ends when its last task does; the others are finished from their spools. Either
// way every spooled event is in the log exactly once, and session.end says that the session was interrupted.
import { access } from 'node:fs/promises';
import type { WatchedSession } from '@sallyport/kernel/recorder.ts';
import { recoverRecordings } from '../recording/recover.ts';
import { TerminalRecording } from '../recording/terminal-recording.ts';
import { SessionCgroup } from './cgroup.ts';
import { type KernelSide, KernelWatch } from './kernel-watch.ts';
import { type LoggedSession, nothingOf, readLoggedSessions } from './recovery-scan.ts';
import { closeSession } from './session-closing.ts';
import { startEvent } from './session-events.ts';
import type { SessionFacts } from './session-facts.ts';
import type { CgroupPlace, SessionHost } from './session-host.ts';
import {
  forgetSession,
  type Journal,
  readJournals,
  removeHalfJournals,
  spoolPath,
  writeJournal,
} from './session-journal.ts';
import type { SessionRecord } from './session-record.ts';
import type { SessionRegistry } from './session-registry.ts';

export interface Recovery {
  readonly sessions: number;
  /** Of them: still alive, and watched on. */
  readonly lingering: number;
  /** Resolves when each has its session.end. Never rejects. */
  readonly done: Promise<void>;
}

export interface RecoverOptions {
  /** Whose sessions are to be left alone: of a daemon that lives. */
  readonly isLiving: (generation: string | undefined) => boolean;
  /** Nobody else has sessions here, nor have we: what is of no session is cleared away. */
  readonly alone: boolean;
}

/**
 * Resolves when every old session has been taken over (which is when new ones may begin); they end in the
 * background. `kernel`: where enhanced recording is off by now, one that watches nothing.
 */
export async function recoverSessions(
  host: SessionHost,
  kernel: KernelSide | undefined,
  registry: SessionRegistry,
  { isLiving, alone }: RecoverOptions = { isLiving: () => false, alone: true },
): Promise<Recovery> {
  const found = await readJournals(host.spoolDir);
  for (const path of found.unreadable)
    host.log.error({ path }, 'a session journal cannot be read and is left in place');
  const ours = new Set(registry.list().map(({ sid }) => sid));
  const journals = found.journals.filter(
    ({ facts, generation }) => !ours.has(facts.sid) && !isLiving(generation),
  );
  const watched = new Map((await kernel?.link.list())?.map((session) => [session.sessionId, session]));
  const logged = await readLoggedSessions(host.audit, journals);
  const endings: Promise<void>[] = [];
  for (const journal of journals) {
    const { sid } = journal.facts;
    const seen = logged.get(sid) ?? nothingOf();
    // Ours from here on: a daemon that comes after us must not take it over, too, while we live.
    await writeJournal(host.spoolDir, journal.facts, { ...journal, generation: host.generation }).catch(
      (err) => host.log.warn({ err, sid }, 'that a session was taken over could not be noted'),
    );
    const session = new InterruptedSession(host, kernel, journal, seen, watched.get(sid));
    await session.takeOver();
    registry.add(session);
    endings.push(session.finish().finally(() => registry.remove(sid)));
  }
  if (alone) await sweep(host, kernel, new Set(journals.map(({ facts }) => facts.sid)), [...watched.keys()]);
  return {
    sessions: journals.length,
    lingering: journals.filter(({ facts }) => (watched.get(facts.sid)?.liveTasks ?? 0) > 0).length,
    done: Promise.all(endings).then(() => {}),
  };
}

class InterruptedSession {
  readonly facts: SessionFacts;
  readonly #host: SessionHost;
  readonly #kernel: KernelSide | undefined;
  readonly #journal: Journal;
  readonly #logged: LoggedSession;
  readonly #live: WatchedSession | undefined;
  #record: SessionRecord | undefined;
  #watch: KernelWatch | undefined;

  constructor(
    host: SessionHost,
    kernel: KernelSide | undefined,
    journal: Journal,
    logged: LoggedSession,
    live: WatchedSession | undefined,
  ) {
    this.facts = journal.facts;
    this.#host = host;
    this.#kernel = kernel;
    this.#journal = journal;
    this.#logged = logged;
    this.#live = live;
  }

  /** From here on its kernel events flow into the log again. */
  async takeOver(): Promise<void> {
    const { facts } = this;
    const { logDir, node, log } = this.#host;
    const recording = await TerminalRecording.resume({
      logDir,
      hostId: node.serverId,
      sid: facts.sid,
      nextEi: () => record.emitter.nextEi(),
    }).catch((err) => {
      log.debug({ err, sid: facts.sid }, 'an interrupted session has no live recording');
      return undefined;
    });
    const firstEi = Math.max(this.#logged.lastEi, recording?.lastEi ?? -1) + 1;
    const record: SessionRecord = this.#host.record(
      (which, err) =>
        log.error({ err, sid: facts.sid }, `the ${which} record of an interrupted session broke`),
      firstEi,
    );
    this.#record = record;
    if (recording) record.open(recording);
    if (this.#logged.ended) return;
    // The daemon died between the watch and its announcement: the order of the log is kept all the same.
    if (!this.#logged.started) await record.emit({ ...startEvent(facts), time: facts.started });
    await this.#takeOverWatch(record);
    // Behind the watch, which hears that nothing runs any more.
    await this.#endAttended();
  }

  async #takeOverWatch(record: SessionRecord): Promise<void> {
    const spooled = await exists(spoolPath(this.#host.spoolDir, this.facts.sid));
    if (!this.#kernel || (!spooled && !this.#live)) return;
    this.#watch = new KernelWatch({
      kernel: this.#kernel,
      facts: this.facts,
      emitter: record.emitter,
      turn: record.turn,
      audit: this.#host.audit,
      record: (events) => record.keep(events), // it knows by `seq` what it has already
      log: this.#host.log,
      seen: this.#logged.seen,
      onGap: ({ error }) =>
        this.#host.log.error({ err: error, sid: this.facts.sid }, 'a gap in old evidence'),
    });
    await this.#watch.adopt(this.#live);
  }

  /** Whoever had to see it is gone, and it may be frozen. Also what no recorder ever watched. */
  async #endAttended(): Promise<void> {
    if (!this.facts.attended) return;
    for (const cgroup of await this.#cgroups())
      await cgroup
        .kill()
        .catch((err) => this.#host.log.error({ err, sid: this.facts.sid }, 'a cgroup was not killed'));
  }

  /** Where it may have lived: recorded, or not. */
  async #cgroups(): Promise<SessionCgroup[]> {
    const places = [this.#host.unrecorded, ...(this.#kernel ? [this.#kernel] : [])];
    const found = await Promise.all(places.map((place) => reopen(place, this.facts.sid)));
    return found.filter((cgroup) => cgroup !== undefined);
  }

  /** Resolves when the session is over and nothing of it is left to do. Never rejects. */
  async finish(): Promise<void> {
    const { log, spoolDir } = this.#host;
    const { sid } = this.facts;
    try {
      if (this.#logged.ended) return await this.#tidy();
      await this.#watch?.whenIdle;
      if (!this.#record) return;
      await closeSession({
        facts: this.facts,
        record: this.#record,
        watch: this.#watch,
        spoolDir,
        counts: undefined,
        left: this.#logged.left,
        participants: [...new Set([this.facts.user, ...this.#logged.joined])],
        interrupted: this.#reason(),
      });
      await this.#removeUnrecorded();
      log.info({ sid, user: this.facts.user }, 'an interrupted session was finished');
    } catch (err) {
      log.error({ err, sid }, 'an interrupted session could not be finished; the next start tries again');
    }
  }

  /** session.end is durable; only the tidying was cut short. */
  async #tidy(): Promise<void> {
    await this.#record?.finish();
    await forgetSession(this.#host.spoolDir, this.facts.sid);
    const cgroup = this.#kernel && (await reopen(this.#kernel, this.facts.sid));
    await cgroup?.remove();
    await this.#removeUnrecorded();
  }

  async #removeUnrecorded(): Promise<void> {
    const cgroup = await reopen(this.#host.unrecorded, this.facts.sid);
    await cgroup?.remove().catch((err) => this.#host.log.warn({ err }, 'an old cgroup was not removed'));
  }

  #reason(): string {
    return this.#journal.bootId === this.#host.bootId
      ? 'the service ended while the session lived'
      : 'the host was restarted while the session lived';
  }

  /** Nobody is connected to it any more. */
  hangUp(): void {}

  async detach(): Promise<void> {
    await this.#watch?.detach();
    await this.#record?.abandon();
  }

  /** Its processes are killed; the rest follows from that. */
  end(): void {
    void this.#watch?.kill();
  }
}

/** What nobody remembers: recordings without a journal, watches and cgroups without a session. */
async function sweep(
  host: SessionHost,
  kernel: KernelSide | undefined,
  known: ReadonlySet<string>,
  watched: readonly string[],
): Promise<void> {
  const { logDir, node, log } = host;
  await removeHalfJournals(host.spoolDir);
  const { finished, failed } = await recoverRecordings({ logDir, hostId: node.serverId, except: known });
  if (finished.length > 0) log.info({ recordings: finished.length }, 'interrupted recordings were finished');
  for (const { sid, error } of failed) log.error({ err: error, sid }, 'a recording could not be finished');
  await removeEmpty(host, host.unrecorded, known);
  if (!kernel) return;
  for (const sid of watched.filter((one) => !known.has(one))) {
    log.warn({ sid }, 'the recorder watches a session this node knows nothing of; its watch is ended');
    await kernel.link.end(sid).catch((err) => log.error({ err, sid }, 'the watch did not end'));
  }
  await removeEmpty(host, kernel, known);
}

async function removeEmpty({ log }: SessionHost, place: CgroupPlace, known: ReadonlySet<string>) {
  for (const sid of await SessionCgroup.list(place.cgroupPath, place.rootPath)) {
    // What is not named like a session of ours is somebody else's.
    if (known.has(sid) || !sessionName.test(sid)) continue;
    const cgroup = await reopen(place, sid);
    await cgroup?.remove().catch((err) => log.warn({ err, sid }, 'an old cgroup was not removed'));
  }
}

const sessionName = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function reopen({ cgroupPath, rootPath }: CgroupPlace, sid: string) {
  return SessionCgroup.reopen(cgroupPath, rootPath, sid);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
