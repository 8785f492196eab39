// The sessions that live in the cluster, as nodes report them and people list them. A report is good for a while
// only: the sessions of a node that died go away by themselves.
import { z } from 'zod';

const instant = z.iso.datetime();
const name = z.string().max(256);

/**
 * What somebody who joins may do. observer: see. peer: see and type. moderator: see, and end the session; what a role
 * requires is as a rule somebody in this mode.
 */
export const joinModes = ['observer', 'peer', 'moderator'] as const;
export type JoinMode = (typeof joinModes)[number];

/** The host account somebody logs in as who only joins: a principal of certificates, never a host's account. */
export const joinLogin = '-teleport-internal-join';

/** By which a session channel says which session it joins, and as what. */
export const joinVariables = { sid: 'TELEPORT_SESSION', mode: 'TELEPORT_SESSION_JOIN_MODE' } as const;

/** pending: waits for those who must be there. paused: they were, and left. */
export const sessionStates = ['pending', 'running', 'paused'] as const;
export type SessionState = (typeof sessionStates)[number];

export const participant = z.strictObject({
  user: name,
  mode: z.enum(['owner', ...joinModes]),
  joined: instant,
});

/** As many as a session takes, its owner included. */
export const maxParticipants = 32;

/** What a node knows of a session with a terminal. Which node it is, auth knows itself. */
export const sessionReport = z.strictObject({
  sid: z.uuid(),
  state: z.enum(sessionStates),
  /** The host account it runs as. */
  login: name,
  owner: name,
  owner_roles: z.array(name).max(256),
  started: instant,
  /** The owner first. */
  participants: z.array(participant).max(maxParticipants),
  /** Who is missing, in words; absent: nobody. */
  missing: z.array(z.string().max(1024)).max(64).optional(),
});
export type SessionReport = z.output<typeof sessionReport>;

/** A session as it is listed: `tsh sessions ls`, `tctl sessions ls`. */
export const sessionTracker = z.strictObject({
  kind: z.literal('session_tracker'),
  version: z.literal('v1'),
  metadata: z.strictObject({ name: z.uuid(), expires: instant }),
  spec: sessionReport.omit({ sid: true }).extend({
    kind: z.literal('ssh'),
    /** Uuid of the node. */
    server_id: z.uuid(),
    hostname: name,
    /** As what the caller may join it; empty: not at all. */
    join_modes: z.array(z.enum(joinModes)),
  }),
});
export type SessionTracker = z.output<typeof sessionTracker>;

/** At most so many in one report; a node with more sends several. */
export const maxReports = 256;
