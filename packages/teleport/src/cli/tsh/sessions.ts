// `tsh sessions ls`: the live sessions one may see, and finding one of them.
import type { SessionTracker } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { printSessions, type SessionListFlags } from '../session-list.ts';
import { type AuthSession, authClient } from './auth-client.ts';
import { requireProfile } from './profile.ts';

export async function sessionsAction(flags: SessionListFlags & { readonly proxy?: string }): Promise<void> {
  const profile = await requireProfile(flags.proxy);
  const auth = await authClient(profile);
  try {
    const { sessions } = await auth.client.listSessions({});
    await printSessions(sessions, flags);
  } finally {
    auth.close();
  }
}

const wholeId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Fewer characters are more often a slip than a session. */
const shortest = 4;

/** By its id or the beginning of it. */
export async function findSession({ client }: AuthSession, text: string): Promise<SessionTracker> {
  const wanted = text.toLowerCase();
  if (wholeId.test(wanted)) return client.getSession({ params: { sid: wanted } });
  if (wanted.length < shortest || !/^[0-9a-f-]+$/.test(wanted))
    throw new AppError('bad_input', 'tsh.bad_session', `"${text}" is not the id of a session.`);
  const { sessions } = await client.listSessions({});
  const [first, second] = sessions.filter(({ metadata }) => metadata.name.startsWith(wanted));
  if (first === undefined)
    throw new AppError('not_found', 'tsh.no_session', `No live session begins with ${text}.`, {
      hint: '`tsh sessions ls` lists those you may see.',
    });
  if (second === undefined) return first;
  throw new AppError('conflict', 'tsh.ambiguous_session', `More than one session begins with ${text}.`);
}
