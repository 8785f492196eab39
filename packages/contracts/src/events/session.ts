// A session's life: start, people coming and going, size, end, and what became of its recording.
import { z } from 'zod';
import { joinModes } from '../api/session-trackers.ts';
import { connection, instant, server, session, user } from './blocks.ts';
import { define } from './event-kind.ts';
import { because, count, shown, where, who } from './phrase.ts';

const block = { ...user, ...session, ...server, ...connection };

const size = z
  .string()
  .regex(/^[0-9]+:[0-9]+$/)
  .describe('columns:rows');
const purpose = z
  .enum(['forwarding', 'sftp'])
  .describe('what a connection forwards, or a file transfer; absent for a shell or command');
const joinMode = z.enum(joinModes);
const of = (owner: string | undefined) => (owner === undefined ? '' : ` of ${shown(owner)}`);
const as = (mode: string | undefined) => (mode === undefined ? '' : ` as ${mode}`);
export const recordingMode = z.enum(['node', 'node-sync', 'proxy', 'proxy-sync', 'off']);

/** Fixed positions behind every event of a session: these two are made from its totals, after its end. */
export const uploadEi = 2147483647;
export const dataEi = 2147483646;

export const sessionStart = define(
  'session.start',
  'T2000I',
  'A session was opened.',
  {
    ...block,
    size: size.optional().describe('absent without a terminal'),
    initial_command: z.array(z.string()).optional().describe('absent for a login shell'),
    session_recording: recordingMode.optional(),
    purpose: purpose.optional(),
  },
  (e) => `${who(e)} opened a session${where(e)}`,
);

export const sessionJoin = define(
  'session.join',
  'T2001I',
  'Somebody joined a session.',
  {
    ...block,
    mode: joinMode.optional(),
    owner: z.string().optional().describe('whose session it is'),
  },
  (e) => `${who(e)} joined a session${of(e.owner)}${where(e)}${as(e.mode)}`,
);

export const resize = define(
  'resize',
  'T2002I',
  'The terminal changed its size.',
  { ...block, size },
  (e) => `the terminal of ${who(e)}${where(e)} became ${e.size.replace(':', ' by ')}`,
);

export const sessionLeave = define(
  'session.leave',
  'T2003I',
  'Somebody left a session.',
  {
    ...block,
    mode: joinMode.optional().describe('absent for the owner'),
    owner: z.string().optional().describe('whose session it is; absent for the owner'),
    reason: z.string().optional(),
  },
  (e) => `${who(e)} left a session${of(e.owner)}${where(e)}${because(e.reason)}`,
);

export const sessionInput = define(
  'session.input',
  'T2021I',
  'Somebody typed into a shared session: how much, at most once a second for each, never what.',
  {
    ...block,
    mode: z.enum(['owner', ...joinModes]),
    bytes: z.int().positive(),
  },
  (e) => `${who(e)} typed ${count(e.bytes, 'byte')} into a session${where(e)} as ${e.mode}`,
);

export const sessionPresence = define(
  'session.presence',
  'T2022I',
  'The connection of somebody whom a session needs says nothing any more, or does again.',
  {
    ...block,
    mode: joinMode,
    owner: z.string().describe('whose session it is'),
    state: z.enum(['silent', 'returned']).describe('silence for too long is a session.leave'),
  },
  (e) => `${who(e)} ${presence[e.state]} in a session${of(e.owner)}${where(e)}`,
);

const presence = { silent: 'fell silent', returned: 'answers again' } as const;

const missing = z.array(z.string()).describe('whom it needs: one entry for each role that nobody meets');

export const sessionPause = define(
  'session.pause',
  'T2023W',
  'A session stands still: nothing runs, nothing is shown, nothing that is typed counts.',
  {
    ...block,
    missing,
    cause: z.enum(['left', 'silent']).describe('silent: they are in it, and their connections say nothing'),
  },
  (e) => `the session of ${who(e)}${where(e)} stands still, as those it needs ${causes[e.cause]}`,
);

const causes = { left: 'left', silent: 'fell silent' } as const;

export const sessionResume = define(
  'session.resume',
  'T2024I',
  'A session that stood still goes on.',
  { ...block, stood_ms: z.int().nonnegative().describe('for how long it stood still') },
  (e) => `the session of ${who(e)}${where(e)} goes on after ${e.stood_ms} ms`,
);

const kindTotals = z.strictObject({
  emitted: z.int().nonnegative(),
  recorded: z.int().nonnegative(),
  lost: z.int().nonnegative(),
});

/** emitted = recorded + lost, exactly. A kind that was off is absent. */
export const enhancedTotals = z.strictObject({
  command: kindTotals.optional(),
  disk: kindTotals.optional(),
  network: kindTotals.optional(),
  meta: kindTotals.optional().describe('attribution and tamper events'),
});

export const sessionEnd = define(
  'session.end',
  'T2004I',
  'A session is over. Comes after every kernel event of it.',
  {
    ...block,
    enhanced_recording: z.boolean().describe('the kernel side really watched it from its first exec'),
    interactive: z.boolean(),
    participants: z.array(z.string()),
    session_start: instant.optional(),
    session_stop: instant.optional(),
    initial_command: z.array(z.string()).optional(),
    session_recording: recordingMode.optional(),
    purpose: purpose.optional(),
    enhanced_totals: enhancedTotals.optional(),
    interrupted: z.boolean().optional().describe('the service or the recorder died while the session lived'),
    interrupted_reason: z.string().optional(),
  },
  (e) =>
    `the session of ${who(e)}${where(e)} ended${e.interrupted === true ? ' (interrupted)' : ''}${because(e.interrupted_reason)}`,
);

export const sessionUpload = define(
  'session.upload',
  'T2005I',
  'The recording reached its storage.',
  { ...session, ei: z.literal(uploadEi), url: z.string() },
  (e) => `the recording of session ${e.sid} was stored at ${shown(e.url)}`,
);

export const sessionData = define(
  'session.data',
  'T2006I',
  'Bytes a session moved over the network.',
  {
    ...block,
    ei: z.literal(dataEi),
    tx: z.int().nonnegative().describe('bytes to the client'),
    rx: z.int().nonnegative().describe('bytes from the client'),
  },
  (e) =>
    `the session of ${who(e)}${where(e)} sent ${count(e.tx, 'byte')} and received ${count(e.rx, 'byte')}`,
);

export const sessionRecordingAccess = define(
  'session.recording.access',
  'T2012I',
  'Somebody watched a recording.',
  { ...user, sid: session.sid },
  (e) => `${who(e)} watched the recording of session ${e.sid}`,
);

export const sessionRecordingFailed = define(
  'session.recording_failed',
  'T2020E',
  'A session could not be recorded, or not to its end.',
  {
    ...block,
    recording: z.enum(['terminal', 'enhanced', 'audit']).describe('which record broke'),
    error: z.string(),
    consequence: z
      .enum(['refused', 'ended', 'continued'])
      .describe('what became of the session; continued: best_effort'),
  },
  (e) =>
    `the ${e.recording} recording of ${who(e)}'s session${where(e)} failed, the session ${outcome[e.consequence]}${because(e.error)}`,
);

const outcome = { refused: 'was refused', ended: 'was ended', continued: 'went on unrecorded' } as const;

export const sessionRejected = define(
  'session.rejected',
  'T1006W',
  'A session was refused: by a limit, by the host (PAM, nologin, an account without a shell), or to a joiner.',
  {
    ...user,
    ...server,
    ...connection,
    reason: z.string().optional(),
    maximum: z.int().nonnegative().optional(),
    sid: session.sid.optional().describe('the session somebody was not let into'),
  },
  (e) => `a session of ${who(e)}${where(e)} was rejected${because(e.reason)}`,
);
