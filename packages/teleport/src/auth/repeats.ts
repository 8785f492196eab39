// Calls that arrive a second time, because the server that carried them out died, or the link broke, before the answer
// was heard. The name a client gives its call (contracts/api/once.ts) is written in the commit of the change itself
// (journal.ts), with what was to be answered; whichever auth server is asked again finds it and answers alike. A one-time
// code or a join token that was used up by the first attempt is no refusal to the second.
//
// The key is a hash of the name, of who calls and of the whole request: nobody is told another's answer, and the same
// name with another request is another call. What is kept in it may be secret: `repeat/` is sealed (sealed-store.ts).
import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { CallContext, Caller } from './api/handler.ts';
import type { Store, Write } from './store/store.ts';

interface Running {
  readonly key: string;
  readonly expires: Date;
  /** Of the wall clock, ms. */
  readonly begun: number;
  readonly wasAnswered: () => Promise<boolean>;
  answer: unknown;
  marked: boolean;
}

/** Clients give up sooner. */
const rememberMs = 2 * 60_000;
/** A call that was held up longer (a process that was stopped) may find its own mark forgotten: it is not carried out. */
const lateMs = 90_000;
const running = new AsyncLocalStorage<Running>();

/** Answers as before, or does the work. A call without a name is done. */
export async function onceOnly<T>(
  { store, now }: { readonly store: Store; readonly now: () => Date },
  name: string,
  request: unknown,
  { caller, once }: CallContext,
  work: () => Promise<T>,
): Promise<T> {
  if (once === undefined) return work();
  const key = `repeat/${digest([name, callerName(caller), once.id, request])}`;
  const before = async () => {
    const item = await store.get(key);
    return item && (JSON.parse(item.value) as { readonly answer: T });
  };
  const done = once.repeated ? await before() : undefined;
  if (done !== undefined) return done.answer;
  const expires = new Date(now().getTime() + rememberMs);
  const wasAnswered = async () => (await before()) !== undefined;
  const call: Running = { key, expires, begun: Date.now(), wasAnswered, answer: undefined, marked: false };
  try {
    return await running.run(call, work);
  } catch (error) {
    // Another attempt was carried out while this one ran: the first went on when we looked, or we are the first, which
    // stood still until the caller went elsewhere.
    const late = call.marked ? undefined : await before().catch(() => undefined);
    if (late === undefined) throw error;
    return late.answer;
  } finally {
    // What it has set going, and goes on, is no part of it.
    call.answer = undefined;
  }
}

/** What a repetition of the running call is answered with: to be said before the commit that carries it out. */
export function answerWillBe<T>(answer: T): T {
  const call = running.getStore();
  if (call !== undefined) call.answer = answer;
  return answer;
}

/**
 * Another attempt of the running call was carried out meanwhile, at this server or another. What this one finds wrong is
 * then its twin's doing (a code that was used, a link that is gone): no failure of anybody, and not to be told as one.
 */
export async function wasAnsweredElsewhere(): Promise<boolean> {
  const call = running.getStore();
  return call !== undefined && !call.marked && (await call.wasAnswered());
}

/** Belongs into the commit that carries the running call out; nothing where no answer was said. */
export function markOfCall(): readonly Write[] {
  const call = running.getStore();
  if (call === undefined || call.marked || call.answer === undefined) return [];
  if (Date.now() - call.begun > lateMs)
    throw new AppError('unavailable', 'auth.too_late', 'The call was held up for too long.');
  const value = JSON.stringify({ answer: call.answer });
  return [{ type: 'put', key: call.key, value, expires: call.expires, expect: 'nothing' }];
}

/** The commit stands, or it failed: then a later one of the same call tells of something else. */
export function callWasMarked(stands: boolean): void {
  const call = running.getStore();
  if (call === undefined) return;
  if (stands) call.marked = true;
  else call.answer = undefined;
}

function callerName(caller: Caller): string {
  switch (caller.kind) {
    case 'admin':
      return 'admin';
    case 'host':
      return `host ${caller.hostUuid}`;
    case 'user':
      return `user ${caller.user}`;
    case 'anyone':
      return 'anyone';
  }
}

function digest(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}
