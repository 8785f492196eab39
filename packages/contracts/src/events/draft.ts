// An event as its maker knows it: everything but what the stamp fills in.
import type { AuditEvent } from './catalog.ts';

type Stamped = 'ei' | 'uid' | 'time' | 'cluster_name';

/** Omit over each member of a union, so that `code` still tells the members apart. */
type DraftOf<E> = E extends AuditEvent ? Omit<E, Stamped> & Partial<Pick<E, Stamped & keyof E>> : never;

/**
 * A draft may bring its own `time` (kernel events: when the kernel saw it), `uid` (recovery: the same event
 * again must be the same id) or `ei` (session.data, session.upload: fixed positions).
 */
export type EventDraft = DraftOf<AuditEvent>;
